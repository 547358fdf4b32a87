// Generated from flightllm/isa by `python -m flightllm.isa.generate`. Do not edit.
// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0

package flightllm_isa_pkg;

  localparam int unsigned InstructionBits = 512;
  localparam int unsigned Registers = 32;
  localparam int unsigned LoopDepth = 4;
  localparam int unsigned BlockPositions = 64;
  localparam int unsigned WindowPositions = 16;

  localparam logic [4:0] RegZero = 5'd0;
  localparam logic [4:0] RegPos = 5'd1;
  localparam logic [4:0] RegNtok = 5'd2;
  localparam logic [4:0] RegKvlen = 5'd3;
  localparam logic [4:0] RegCore = 5'd4;
  localparam logic [4:0] RegNlog = 5'd5;
  localparam logic [4:0] RegMasken = 5'd6;

  // Bits of the wait and signal masks.
  localparam int unsigned TokenL = 0;
  localparam int unsigned TokenM = 1;
  localparam int unsigned TokenS = 2;
  localparam int unsigned TokenT = 3;

  typedef enum logic [5:0] {
    OpHalt = 6'h00,
    OpBarrier = 6'h01,
    OpAlu = 6'h02,
    OpLoop = 6'h03,
    OpLdw = 6'h08,
    OpLdv = 6'h10,
    OpLdg = 6'h11,
    OpLdm = 6'h12,
    OpLds = 6'h13,
    OpLdk = 6'h14,
    OpMm = 6'h18,
    OpMmqk = 6'h19,
    OpMmpv = 6'h1a,
    OpNorm = 6'h20,
    OpAct = 6'h21,
    OpAdd = 6'h22,
    OpRope = 6'h23,
    OpSoftmax = 6'h24,
    OpStv = 6'h28,
    OpStkv = 6'h29,
    OpXchg = 6'h2a
  } opcode_e;

  typedef enum logic [2:0] {
    AluOpAdd = 3'd0,
    AluOpSub = 3'd1,
    AluOpMul = 3'd2,
    AluOpAnd = 3'd3,
    AluOpShl = 3'd4,
    AluOpShr = 3'd5,
    AluOpMin = 3'd6,
    AluOpMax = 3'd7
  } alu_op_e;

  typedef enum logic [0:0] {
    LdvDtypeF32 = 1'd0,
    LdvDtypeF16 = 1'd1
  } ldv_dtype_e;

  typedef enum logic [0:0] {
    LdgDtypeF32 = 1'd0,
    LdgDtypeF16 = 1'd1
  } ldg_dtype_e;

  typedef enum logic [0:0] {
    LdkKindK = 1'd0,
    LdkKindV = 1'd1
  } ldk_kind_e;

  typedef enum logic [1:0] {
    MmGroup32 = 2'd0,
    MmGroup64 = 2'd1,
    MmGroup128 = 2'd2
  } mm_group_e;

  typedef enum logic [1:0] {
    MmRowsPerVpu1 = 2'd0,
    MmRowsPerVpu2 = 2'd1,
    MmRowsPerVpu4 = 2'd2,
    MmRowsPerVpu8 = 2'd3
  } mm_rows_per_vpu_e;

  typedef enum logic [0:0] {
    MmqkBits8 = 1'd0,
    MmqkBits4 = 1'd1
  } mmqk_bits_e;

  typedef enum logic [0:0] {
    MmpvBits8 = 1'd0,
    MmpvBits4 = 1'd1
  } mmpv_bits_e;

  typedef enum logic [2:0] {
    NormQuantNone = 3'd0,
    NormQuantA8 = 3'd1,
    NormQuantDual = 3'd2,
    NormQuantKv8 = 3'd3,
    NormQuantKv4 = 3'd4
  } norm_quant_e;

  typedef enum logic [0:0] {
    NormKindRms = 1'd0,
    NormKindLayer = 1'd1
  } norm_kind_e;

  typedef enum logic [2:0] {
    ActQuantNone = 3'd0,
    ActQuantA8 = 3'd1,
    ActQuantDual = 3'd2,
    ActQuantKv8 = 3'd3,
    ActQuantKv4 = 3'd4
  } act_quant_e;

  typedef enum logic [1:0] {
    ActKindCopy = 2'd0,
    ActKindRelu = 2'd1,
    ActKindSilu = 2'd2,
    ActKindGelu = 2'd3
  } act_kind_e;

  typedef enum logic [2:0] {
    AddQuantNone = 3'd0,
    AddQuantA8 = 3'd1,
    AddQuantDual = 3'd2,
    AddQuantKv8 = 3'd3,
    AddQuantKv4 = 3'd4
  } add_quant_e;

  typedef enum logic [2:0] {
    RopeQuantNone = 3'd0,
    RopeQuantA8 = 3'd1,
    RopeQuantDual = 3'd2,
    RopeQuantKv8 = 3'd3,
    RopeQuantKv4 = 3'd4
  } rope_quant_e;

  typedef enum logic [0:0] {
    StkvKindK = 1'd0,
    StkvKindV = 1'd1
  } stkv_kind_e;

  typedef enum logic [0:0] {
    StkvBits8 = 1'd0,
    StkvBits4 = 1'd1
  } stkv_bits_e;

  typedef struct packed {
    logic [497:0] reserved;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } halt_t;

  typedef struct packed {
    logic [497:0] reserved;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } barrier_t;

  typedef struct packed {
    logic [447:0] reserved;
    logic [31:0] imm;
    logic [4:0] rb;
    logic [4:0] ra;
    logic [4:0] rd;
    logic [2:0] op;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } alu_t;

  typedef struct packed {
    logic [439:0] reserved;
    logic [23:0] body;
    logic [4:0] count_r;
    logic [23:0] count;
    logic [4:0] rd;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } loop_t;

  typedef struct packed {
    logic [380:0] reserved;
    logic [31:0] nbytes;
    logic [39:0] addr_s;
    logic [4:0] addr_r;
    logic [39:0] addr;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } ldw_t;

  typedef struct packed {
    logic [273:0] reserved;
    logic [19:0] dst_row;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [4:0] rows_r;
    logic [15:0] rows;
    logic [19:0] slots;
    logic [31:0] row;
    logic [39:0] addr_s;
    logic [4:0] addr_r;
    logic [39:0] addr;
    logic [0:0] dtype;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } ldv_t;

  typedef struct packed {
    logic [209:0] reserved;
    logic [19:0] dst_row;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [4:0] rows_r;
    logic [15:0] rows;
    logic [19:0] slots;
    logic [23:0] limit;
    logic [31:0] row;
    logic [39:0] has_table;
    logic [39:0] ids_s;
    logic [4:0] ids_r;
    logic [39:0] ids;
    logic [0:0] dtype;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } ldg_t;

  typedef struct packed {
    logic [359:0] reserved;
    logic [15:0] dst_s;
    logic [4:0] dst_r;
    logic [15:0] dst;
    logic [15:0] nbytes;
    logic [39:0] addr_s;
    logic [4:0] addr_r;
    logic [39:0] addr;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } ldm_t;

  typedef struct packed {
    logic [279:0] reserved;
    logic [19:0] dst_head;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [9:0] heads;
    logic [39:0] addr_s;
    logic [4:0] addr_r;
    logic [39:0] addr;
    logic [4:0] first_r;
    logic [11:0] first_block;
    logic [11:0] sink;
    logic [4:0] len_r;
    logic [23:0] len;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } lds_t;

  typedef struct packed {
    logic [290:0] reserved;
    logic [19:0] unit_bytes;
    logic [39:0] addr_s;
    logic [4:0] addr_r;
    logic [39:0] addr;
    logic [0:0] kind;
    logic [4:0] masked_r;
    logic [0:0] masked;
    logic [15:0] mask_s;
    logic [4:0] mask_r;
    logic [15:0] mask;
    logic [4:0] first_r;
    logic [11:0] first_block;
    logic [11:0] sink;
    logic [4:0] len_r;
    logic [23:0] len;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } ldk_t;

  typedef struct packed {
    logic [286:0] reserved;
    logic [0:0] dual;
    logic [0:0] accumulate;
    logic [0:0] bias;
    logic [1:0] rows_per_vpu;
    logic [1:0] group;
    logic [0:0] has_table;
    logic [7:0] format;
    logic [19:0] dst_row;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [19:0] slots;
    logic [23:0] k;
    logic [4:0] tokens_r;
    logic [15:0] tokens;
    logic [19:0] ab_row;
    logic [19:0] ab_s;
    logic [4:0] ab_r;
    logic [19:0] ab;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } mm_t;

  typedef struct packed {
    logic [177:0] reserved;
    logic [15:0] k;
    logic [0:0] dual;
    logic [19:0] dst_s1;
    logic [19:0] dst_s0;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [0:0] bits;
    logic [9:0] n1;
    logic [4:0] n0_r;
    logic [15:0] n0;
    logic [19:0] ab_s1;
    logic [19:0] ab_s0;
    logic [19:0] ab_s;
    logic [4:0] ab_r;
    logic [19:0] ab;
    logic [4:0] masked_r;
    logic [0:0] masked;
    logic [15:0] mask_s;
    logic [4:0] mask_r;
    logic [15:0] mask;
    logic [4:0] first_r;
    logic [11:0] first_block;
    logic [11:0] sink;
    logic [4:0] len_r;
    logic [23:0] len;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } mmqk_t;

  typedef struct packed {
    logic [169:0] reserved;
    logic [11:0] row_slots;
    logic [11:0] slots;
    logic [0:0] dual;
    logic [19:0] dst_s1;
    logic [19:0] dst_s0;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [0:0] bits;
    logic [9:0] n1;
    logic [4:0] n0_r;
    logic [15:0] n0;
    logic [19:0] ab_s1;
    logic [19:0] ab_s0;
    logic [19:0] ab_s;
    logic [4:0] ab_r;
    logic [19:0] ab;
    logic [4:0] masked_r;
    logic [0:0] masked;
    logic [15:0] mask_s;
    logic [4:0] mask_r;
    logic [15:0] mask;
    logic [4:0] first_r;
    logic [11:0] first_block;
    logic [11:0] sink;
    logic [4:0] len_r;
    logic [23:0] len;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } mmpv_t;

  typedef struct packed {
    logic [79:0] reserved;
    logic [31:0] eps;
    logic [31:0] inv_n;
    logic [19:0] beta;
    logic [19:0] gamma;
    logic [0:0] kind;
    logic [19:0] ab_s1;
    logic [19:0] ab_s0;
    logic [19:0] ab_s;
    logic [4:0] ab_r;
    logic [19:0] ab;
    logic [2:0] quant;
    logic [23:0] len;
    logic [9:0] n1;
    logic [4:0] n0_r;
    logic [15:0] n0;
    logic [19:0] dst_s1;
    logic [19:0] dst_s0;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [19:0] src_s1;
    logic [19:0] src_s0;
    logic [19:0] src_s;
    logic [4:0] src_r;
    logic [19:0] src;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } norm_t;

  typedef struct packed {
    logic [96:0] reserved;
    logic [19:0] gate_s1;
    logic [19:0] gate_s0;
    logic [19:0] gate_s;
    logic [4:0] gate_r;
    logic [19:0] gate;
    logic [0:0] gated;
    logic [1:0] kind;
    logic [19:0] ab_s1;
    logic [19:0] ab_s0;
    logic [19:0] ab_s;
    logic [4:0] ab_r;
    logic [19:0] ab;
    logic [2:0] quant;
    logic [23:0] len;
    logic [9:0] n1;
    logic [4:0] n0_r;
    logic [15:0] n0;
    logic [19:0] dst_s1;
    logic [19:0] dst_s0;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [19:0] src_s1;
    logic [19:0] src_s0;
    logic [19:0] src_s;
    logic [4:0] src_r;
    logic [19:0] src;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } act_t;

  typedef struct packed {
    logic [99:0] reserved;
    logic [19:0] other_s1;
    logic [19:0] other_s0;
    logic [19:0] other_s;
    logic [4:0] other_r;
    logic [19:0] other;
    logic [19:0] ab_s1;
    logic [19:0] ab_s0;
    logic [19:0] ab_s;
    logic [4:0] ab_r;
    logic [19:0] ab;
    logic [2:0] quant;
    logic [23:0] len;
    logic [9:0] n1;
    logic [4:0] n0_r;
    logic [15:0] n0;
    logic [19:0] dst_s1;
    logic [19:0] dst_s0;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [19:0] src_s1;
    logic [19:0] src_s0;
    logic [19:0] src_s;
    logic [4:0] src_r;
    logic [19:0] src;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } add_t;

  typedef struct packed {
    logic [144:0] reserved;
    logic [19:0] table_s0;
    logic [19:0] has_table;
    logic [19:0] ab_s1;
    logic [19:0] ab_s0;
    logic [19:0] ab_s;
    logic [4:0] ab_r;
    logic [19:0] ab;
    logic [2:0] quant;
    logic [23:0] len;
    logic [9:0] n1;
    logic [4:0] n0_r;
    logic [15:0] n0;
    logic [19:0] dst_s1;
    logic [19:0] dst_s0;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [19:0] src_s1;
    logic [19:0] src_s0;
    logic [19:0] src_s;
    logic [4:0] src_r;
    logic [19:0] src;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } rope_t;

  typedef struct packed {
    logic [4:0] reserved;
    logic [19:0] ab_s1;
    logic [19:0] ab_s0;
    logic [19:0] ab_s;
    logic [4:0] ab_r;
    logic [19:0] ab;
    logic [31:0] alpha;
    logic [15:0] sink_tokens;
    logic [23:0] window;
    logic [4:0] qpos_r;
    logic [23:0] qpos;
    logic [9:0] n1;
    logic [4:0] n0_r;
    logic [15:0] n0;
    logic [19:0] vs_s;
    logic [4:0] vs_r;
    logic [19:0] vs;
    logic [19:0] ks_s;
    logic [4:0] ks_r;
    logic [19:0] ks;
    logic [19:0] src_s1;
    logic [19:0] src_s0;
    logic [19:0] src_s;
    logic [4:0] src_r;
    logic [19:0] src;
    logic [4:0] masked_r;
    logic [0:0] masked;
    logic [15:0] mask_s;
    logic [4:0] mask_r;
    logic [15:0] mask;
    logic [4:0] first_r;
    logic [11:0] first_block;
    logic [11:0] sink;
    logic [4:0] len_r;
    logic [23:0] len;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } softmax_t;

  typedef struct packed {
    logic [274:0] reserved;
    logic [31:0] row;
    logic [39:0] addr_s;
    logic [4:0] addr_r;
    logic [39:0] addr;
    logic [19:0] slots;
    logic [4:0] rows_r;
    logic [15:0] rows;
    logic [19:0] src_row;
    logic [19:0] src_s;
    logic [4:0] src_r;
    logic [19:0] src;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } stv_t;

  typedef struct packed {
    logic [112:0] reserved;
    logic [39:0] scales_s;
    logic [4:0] scales_r;
    logic [39:0] scales;
    logic [19:0] unit_bytes;
    logic [31:0] head;
    logic [39:0] addr_s;
    logic [4:0] addr_r;
    logic [39:0] addr;
    logic [4:0] pos_r;
    logic [23:0] pos;
    logic [15:0] len;
    logic [9:0] n1;
    logic [4:0] n0_r;
    logic [15:0] n0;
    logic [19:0] ab_s1;
    logic [19:0] ab_s0;
    logic [19:0] ab_s;
    logic [4:0] ab_r;
    logic [19:0] ab;
    logic [0:0] bits;
    logic [0:0] kind;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } stkv_t;

  typedef struct packed {
    logic [326:0] reserved;
    logic [4:0] n0_r;
    logic [15:0] n0;
    logic [19:0] n;
    logic [19:0] dst_row;
    logic [19:0] dst_s;
    logic [4:0] dst_r;
    logic [19:0] dst;
    logic [19:0] src_row;
    logic [19:0] src_s;
    logic [4:0] src_r;
    logic [19:0] src;
    logic [3:0] signal_mask;
    logic [3:0] wait_mask;
    logic [5:0] opcode;
  } xchg_t;

endpackage
