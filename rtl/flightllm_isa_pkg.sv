// Generated from flightllm/isa by `python -m flightllm.isa.generate`. Do not edit.
// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0

package flightllm_isa_pkg;

  localparam int unsigned InstructionBits = 512;
  localparam int unsigned Registers = 32;
  localparam int unsigned LoopDepth = 4;
  localparam int unsigned BlockPositions = 64;
  localparam int unsigned WindowPositions = 16;

  // Slots that the K cache keeps side by side, window by window.
  function automatic int unsigned key_slots(int unsigned channels);
    return BlockPositions / channels < 4 ? BlockPositions / channels : 4;
  endfunction

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
    logic [24:0] reserved;
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
    logic [9:0] group;
    logic [19:0] kv_s;
    logic [19:0] vs;
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

  // --- operands that resolve at dispatch ------------------------------------------------------------------------
  // The sequencer resolves one operand a cycle: address = base + R[reg] * stride, count = base + R[reg] (stride 1).

  localparam int unsigned MaxOperands = 8;

  // An instruction with its resolved operands, in the order of the fields: what a unit's queue holds.
  typedef struct packed {
    logic [MaxOperands-1:0][39:0] res;
    logic [InstructionBits-1:0]   inst;
  } dispatch_t;

  typedef struct packed {
    logic [39:0] base;
    logic [4:0]  register_id;
    logic [39:0] stride;
  } operand_t;

  // Where the fields of an operand lie: a number from 1 on, 0 where the instruction has no operand of this index. Many
  // instructions share places, so that operand_at has fewer choices than there are operands.
  localparam int unsigned PlaceBits = $clog2(36 + 1);
  function automatic logic [PlaceBits-1:0] operand_place(logic [5:0] opcode, logic [3:0] index);
    unique case ({opcode, index})
      {OpLdw, 4'd0},
      {OpLdm, 4'd0}:
      operand_place = PlaceBits'(1);
      {OpLdv, 4'd0},
      {OpLdg, 4'd0}:
      operand_place = PlaceBits'(2);
      {OpLdv, 4'd1}:
      operand_place = PlaceBits'(3);
      {OpLdv, 4'd2}:
      operand_place = PlaceBits'(4);
      {OpLdg, 4'd1}:
      operand_place = PlaceBits'(5);
      {OpLdg, 4'd2}:
      operand_place = PlaceBits'(6);
      {OpLdm, 4'd1}:
      operand_place = PlaceBits'(7);
      {OpLds, 4'd0},
      {OpLdk, 4'd0},
      {OpMmqk, 4'd0},
      {OpMmpv, 4'd0},
      {OpSoftmax, 4'd0}:
      operand_place = PlaceBits'(8);
      {OpLds, 4'd1},
      {OpLdk, 4'd1},
      {OpMmqk, 4'd1},
      {OpMmpv, 4'd1},
      {OpSoftmax, 4'd1}:
      operand_place = PlaceBits'(9);
      {OpLds, 4'd2}:
      operand_place = PlaceBits'(10);
      {OpLds, 4'd3}:
      operand_place = PlaceBits'(11);
      {OpLdk, 4'd2},
      {OpMmqk, 4'd2},
      {OpMmpv, 4'd2},
      {OpSoftmax, 4'd2}:
      operand_place = PlaceBits'(12);
      {OpLdk, 4'd3},
      {OpMmqk, 4'd3},
      {OpMmpv, 4'd3},
      {OpSoftmax, 4'd3}:
      operand_place = PlaceBits'(13);
      {OpLdk, 4'd4}:
      operand_place = PlaceBits'(14);
      {OpMm, 4'd0},
      {OpNorm, 4'd0},
      {OpAct, 4'd0},
      {OpAdd, 4'd0},
      {OpRope, 4'd0},
      {OpStv, 4'd0},
      {OpXchg, 4'd0}:
      operand_place = PlaceBits'(15);
      {OpMm, 4'd1},
      {OpStv, 4'd1}:
      operand_place = PlaceBits'(16);
      {OpMm, 4'd2}:
      operand_place = PlaceBits'(17);
      {OpMmqk, 4'd4},
      {OpMmpv, 4'd4},
      {OpSoftmax, 4'd4}:
      operand_place = PlaceBits'(18);
      {OpMmqk, 4'd5},
      {OpMmpv, 4'd5}:
      operand_place = PlaceBits'(19);
      {OpMmqk, 4'd6},
      {OpMmpv, 4'd6}:
      operand_place = PlaceBits'(20);
      {OpNorm, 4'd1},
      {OpAct, 4'd1},
      {OpAdd, 4'd1},
      {OpRope, 4'd1}:
      operand_place = PlaceBits'(21);
      {OpNorm, 4'd2},
      {OpAct, 4'd2},
      {OpAdd, 4'd2},
      {OpRope, 4'd2}:
      operand_place = PlaceBits'(22);
      {OpNorm, 4'd3},
      {OpAct, 4'd3},
      {OpAdd, 4'd3},
      {OpRope, 4'd3}:
      operand_place = PlaceBits'(23);
      {OpAct, 4'd4}:
      operand_place = PlaceBits'(24);
      {OpAdd, 4'd4}:
      operand_place = PlaceBits'(25);
      {OpSoftmax, 4'd5}:
      operand_place = PlaceBits'(26);
      {OpSoftmax, 4'd6}:
      operand_place = PlaceBits'(27);
      {OpSoftmax, 4'd7}:
      operand_place = PlaceBits'(28);
      {OpStv, 4'd2}:
      operand_place = PlaceBits'(29);
      {OpStkv, 4'd0}:
      operand_place = PlaceBits'(30);
      {OpStkv, 4'd1}:
      operand_place = PlaceBits'(31);
      {OpStkv, 4'd2}:
      operand_place = PlaceBits'(32);
      {OpStkv, 4'd3}:
      operand_place = PlaceBits'(33);
      {OpStkv, 4'd4}:
      operand_place = PlaceBits'(34);
      {OpXchg, 4'd1}:
      operand_place = PlaceBits'(35);
      {OpXchg, 4'd2}:
      operand_place = PlaceBits'(36);
      default: operand_place = '0;
    endcase
  endfunction
  function automatic operand_t operand_at(logic [InstructionBits-1:0] inst, logic [PlaceBits-1:0] place);
    unique case (place)
      PlaceBits'(1): operand_at = '{40'(inst[53:14]), inst[58:54], 40'(inst[98:59])};
      PlaceBits'(2): operand_at = '{40'(inst[54:15]), inst[59:55], 40'(inst[99:60])};
      PlaceBits'(3): operand_at = '{40'(inst[167:152]), inst[172:168], 40'd1};
      PlaceBits'(4): operand_at = '{40'(inst[192:173]), inst[197:193], 40'(inst[217:198])};
      PlaceBits'(5): operand_at = '{40'(inst[231:216]), inst[236:232], 40'd1};
      PlaceBits'(6): operand_at = '{40'(inst[256:237]), inst[261:257], 40'(inst[281:262])};
      PlaceBits'(7): operand_at = '{40'(inst[130:115]), inst[135:131], 40'(inst[151:136])};
      PlaceBits'(8): operand_at = '{40'(inst[37:14]), inst[42:38], 40'd1};
      PlaceBits'(9): operand_at = '{40'(inst[66:55]), inst[71:67], 40'd1};
      PlaceBits'(10): operand_at = '{40'(inst[111:72]), inst[116:112], 40'(inst[156:117])};
      PlaceBits'(11): operand_at = '{40'(inst[186:167]), inst[191:187], 40'(inst[211:192])};
      PlaceBits'(12): operand_at = '{40'(inst[87:72]), inst[92:88], 40'(inst[108:93])};
      PlaceBits'(13): operand_at = '{40'(inst[109:109]), inst[114:110], 40'd1};
      PlaceBits'(14): operand_at = '{40'(inst[155:116]), inst[160:156], 40'(inst[200:161])};
      PlaceBits'(15): operand_at = '{40'(inst[33:14]), inst[38:34], 40'(inst[58:39])};
      PlaceBits'(16): operand_at = '{40'(inst[94:79]), inst[99:95], 40'd1};
      PlaceBits'(17): operand_at = '{40'(inst[163:144]), inst[168:164], 40'(inst[188:169])};
      PlaceBits'(18): operand_at = '{40'(inst[134:115]), inst[139:135], 40'(inst[159:140])};
      PlaceBits'(19): operand_at = '{40'(inst[215:200]), inst[220:216], 40'd1};
      PlaceBits'(20): operand_at = '{40'(inst[251:232]), inst[256:252], 40'(inst[276:257])};
      PlaceBits'(21): operand_at = '{40'(inst[118:99]), inst[123:119], 40'(inst[143:124])};
      PlaceBits'(22): operand_at = '{40'(inst[199:184]), inst[204:200], 40'd1};
      PlaceBits'(23): operand_at = '{40'(inst[261:242]), inst[266:262], 40'(inst[286:267])};
      PlaceBits'(24): operand_at = '{40'(inst[349:330]), inst[354:350], 40'(inst[374:355])};
      PlaceBits'(25): operand_at = '{40'(inst[346:327]), inst[351:347], 40'(inst[371:352])};
      PlaceBits'(26): operand_at = '{40'(inst[285:270]), inst[290:286], 40'd1};
      PlaceBits'(27): operand_at = '{40'(inst[324:301]), inst[329:325], 40'd1};
      PlaceBits'(28): operand_at = '{40'(inst[421:402]), inst[426:422], 40'(inst[446:427])};
      PlaceBits'(29): operand_at = '{40'(inst[159:120]), inst[164:160], 40'(inst[204:165])};
      PlaceBits'(30): operand_at = '{40'(inst[35:16]), inst[40:36], 40'(inst[60:41])};
      PlaceBits'(31): operand_at = '{40'(inst[116:101]), inst[121:117], 40'd1};
      PlaceBits'(32): operand_at = '{40'(inst[171:148]), inst[176:172], 40'd1};
      PlaceBits'(33): operand_at = '{40'(inst[216:177]), inst[221:217], 40'(inst[261:222])};
      PlaceBits'(34): operand_at = '{40'(inst[353:314]), inst[358:354], 40'(inst[398:359])};
      PlaceBits'(35): operand_at = '{40'(inst[98:79]), inst[103:99], 40'(inst[123:104])};
      PlaceBits'(36): operand_at = '{40'(inst[179:164]), inst[184:180], 40'd1};
      default: operand_at = '0;
    endcase
  endfunction

  // Legal: opcode known, reserved bits zero, every choice one of its names. In two steps, so that a register may stand between them:
  // what holds of an instruction and what must hold of one with its opcode, and the verdict.
  localparam int unsigned LegalFacts = 22;
  function automatic logic [LegalFacts-1:0] legal_facts(logic [InstructionBits-1:0] inst);
    return {
      inst[241:239] <= 3'd4,
      inst[219:218] <= 2'd2,
      inst[511:487] == '0,
      inst[486:432] == '0,
      inst[431:415] == '0,
      inst[414:412] == '0,
      inst[411:399] == '0,
      inst[398:367] == '0,
      inst[366:342] == '0,
      inst[341:334] == '0,
      inst[333:302] == '0,
      inst[301:238] == '0,
      inst[237:237] == '0,
      inst[236:232] == '0,
      inst[231:225] == '0,
      inst[224:221] == '0,
      inst[220:185] == '0,
      inst[184:152] == '0,
      inst[151:131] == '0,
      inst[130:72] == '0,
      inst[71:64] == '0,
      inst[63:14] == '0
    };
  endfunction
  // {opcode known, facts needed}
  function automatic logic [LegalFacts:0] legal_needs(logic [5:0] opcode);
    unique case (opcode)
      OpHalt: legal_needs = {1'b1, LegalFacts'('hfffff)};
      OpBarrier: legal_needs = {1'b1, LegalFacts'('hfffff)};
      OpAlu: legal_needs = {1'b1, LegalFacts'('hffffe)};
      OpLoop: legal_needs = {1'b1, LegalFacts'('hffffc)};
      OpLdw: legal_needs = {1'b1, LegalFacts'('hffff8)};
      OpLdv: legal_needs = {1'b1, LegalFacts'('hffc00)};
      OpLdg: legal_needs = {1'b1, LegalFacts'('hff800)};
      OpLdm: legal_needs = {1'b1, LegalFacts'('hffff0)};
      OpLds: legal_needs = {1'b1, LegalFacts'('hfff00)};
      OpLdk: legal_needs = {1'b1, LegalFacts'('hfffc0)};
      OpMm: legal_needs = {1'b1, LegalFacts'('h1fff80)};
      OpMmqk: legal_needs = {1'b1, LegalFacts'('hff000)};
      OpMmpv: legal_needs = {1'b1, LegalFacts'('hfe000)};
      OpNorm: legal_needs = {1'b1, LegalFacts'('h2c0000)};
      OpAct: legal_needs = {1'b1, LegalFacts'('h2e0000)};
      OpAdd: legal_needs = {1'b1, LegalFacts'('h2f0000)};
      OpRope: legal_needs = {1'b1, LegalFacts'('h2fc000)};
      OpSoftmax: legal_needs = {1'b1, LegalFacts'('h80000)};
      OpStv: legal_needs = {1'b1, LegalFacts'('hffe00)};
      OpStkv: legal_needs = {1'b1, LegalFacts'('hf8000)};
      OpXchg: legal_needs = {1'b1, LegalFacts'('hfffe0)};
      default: legal_needs = '0;
    endcase
  endfunction
  function automatic logic legal(logic [LegalFacts:0] needs, logic [LegalFacts-1:0] facts);
    return needs[LegalFacts] && (needs[LegalFacts-1:0] & ~facts) == '0;
  endfunction

  typedef enum logic [2:0] {
    UnitL = 3'd0,
    UnitM = 3'd1,
    UnitS = 3'd2,
    UnitT = 3'd3,
    UnitW = 3'd4,
    UnitQ = 3'd5
  } unit_e;

  function automatic unit_e unit_of(logic [5:0] opcode);
    unique case (opcode)
      OpHalt: return UnitQ;
      OpBarrier: return UnitQ;
      OpAlu: return UnitQ;
      OpLoop: return UnitQ;
      OpLdw: return UnitW;
      OpLdv: return UnitL;
      OpLdg: return UnitL;
      OpLdm: return UnitL;
      OpLds: return UnitL;
      OpLdk: return UnitL;
      OpMm: return UnitM;
      OpMmqk: return UnitM;
      OpMmpv: return UnitM;
      OpNorm: return UnitS;
      OpAct: return UnitS;
      OpAdd: return UnitS;
      OpRope: return UnitS;
      OpSoftmax: return UnitS;
      OpStv: return UnitT;
      OpStkv: return UnitT;
      OpXchg: return UnitT;
      default: return UnitQ;
    endcase
  endfunction

  // LDW as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [39:0] addr;
    logic [31:0] nbytes;
  } ldw_op_t;

  function automatic ldw_op_t ldw_op(dispatch_t d);
    ldw_t f;
    ldw_op_t o;
    f = ldw_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.addr = d.res[0][39:0];
    o.nbytes = f.nbytes;
    return o;
  endfunction

  // LDV as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [0:0] dtype;
    logic [39:0] addr;
    logic [31:0] row;
    logic [19:0] slots;
    logic signed [31:0] rows;
    logic [19:0] dst;
    logic [19:0] dst_row;
  } ldv_op_t;

  function automatic ldv_op_t ldv_op(dispatch_t d);
    ldv_t f;
    ldv_op_t o;
    f = ldv_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.dtype = f.dtype;
    o.addr = d.res[0][39:0];
    o.row = f.row;
    o.slots = f.slots;
    o.rows = d.res[1][31:0];
    o.dst = d.res[2][19:0];
    o.dst_row = f.dst_row;
    return o;
  endfunction

  // LDG as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [0:0] dtype;
    logic [39:0] ids;
    logic [39:0] has_table;
    logic [31:0] row;
    logic [23:0] limit;
    logic [19:0] slots;
    logic signed [31:0] rows;
    logic [19:0] dst;
    logic [19:0] dst_row;
  } ldg_op_t;

  function automatic ldg_op_t ldg_op(dispatch_t d);
    ldg_t f;
    ldg_op_t o;
    f = ldg_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.dtype = f.dtype;
    o.ids = d.res[0][39:0];
    o.has_table = f.has_table;
    o.row = f.row;
    o.limit = f.limit;
    o.slots = f.slots;
    o.rows = d.res[1][31:0];
    o.dst = d.res[2][19:0];
    o.dst_row = f.dst_row;
    return o;
  endfunction

  // LDM as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [39:0] addr;
    logic [15:0] nbytes;
    logic [15:0] dst;
  } ldm_op_t;

  function automatic ldm_op_t ldm_op(dispatch_t d);
    ldm_t f;
    ldm_op_t o;
    f = ldm_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.addr = d.res[0][39:0];
    o.nbytes = f.nbytes;
    o.dst = d.res[1][15:0];
    return o;
  endfunction

  // LDS as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic signed [31:0] len;
    logic [11:0] sink;
    logic signed [31:0] first_block;
    logic [39:0] addr;
    logic [9:0] heads;
    logic [19:0] dst;
    logic [19:0] dst_head;
  } lds_op_t;

  function automatic lds_op_t lds_op(dispatch_t d);
    lds_t f;
    lds_op_t o;
    f = lds_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.len = d.res[0][31:0];
    o.sink = f.sink;
    o.first_block = d.res[1][31:0];
    o.addr = d.res[2][39:0];
    o.heads = f.heads;
    o.dst = d.res[3][19:0];
    o.dst_head = f.dst_head;
    return o;
  endfunction

  // LDK as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic signed [31:0] len;
    logic [11:0] sink;
    logic signed [31:0] first_block;
    logic [15:0] mask;
    logic signed [31:0] masked;
    logic [0:0] kind;
    logic [39:0] addr;
    logic [19:0] unit_bytes;
  } ldk_op_t;

  function automatic ldk_op_t ldk_op(dispatch_t d);
    ldk_t f;
    ldk_op_t o;
    f = ldk_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.len = d.res[0][31:0];
    o.sink = f.sink;
    o.first_block = d.res[1][31:0];
    o.mask = d.res[2][15:0];
    o.masked = d.res[3][31:0];
    o.kind = f.kind;
    o.addr = d.res[4][39:0];
    o.unit_bytes = f.unit_bytes;
    return o;
  endfunction

  // MM as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [19:0] ab;
    logic [19:0] ab_row;
    logic signed [31:0] tokens;
    logic [23:0] k;
    logic [19:0] slots;
    logic [19:0] dst;
    logic [19:0] dst_row;
    logic [7:0] format;
    logic [0:0] has_table;
    logic [1:0] group;
    logic [1:0] rows_per_vpu;
    logic [0:0] bias;
    logic [0:0] accumulate;
    logic [0:0] dual;
  } mm_op_t;

  function automatic mm_op_t mm_op(dispatch_t d);
    mm_t f;
    mm_op_t o;
    f = mm_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.ab = d.res[0][19:0];
    o.ab_row = f.ab_row;
    o.tokens = d.res[1][31:0];
    o.k = f.k;
    o.slots = f.slots;
    o.dst = d.res[2][19:0];
    o.dst_row = f.dst_row;
    o.format = f.format;
    o.has_table = f.has_table;
    o.group = f.group;
    o.rows_per_vpu = f.rows_per_vpu;
    o.bias = f.bias;
    o.accumulate = f.accumulate;
    o.dual = f.dual;
    return o;
  endfunction

  // MMQK as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic signed [31:0] len;
    logic [11:0] sink;
    logic signed [31:0] first_block;
    logic [15:0] mask;
    logic signed [31:0] masked;
    logic [19:0] ab;
    logic [19:0] ab_s0;
    logic [19:0] ab_s1;
    logic signed [31:0] n0;
    logic [9:0] n1;
    logic [0:0] bits;
    logic [19:0] dst;
    logic [19:0] dst_s0;
    logic [19:0] dst_s1;
    logic [0:0] dual;
    logic [15:0] k;
  } mmqk_op_t;

  function automatic mmqk_op_t mmqk_op(dispatch_t d);
    mmqk_t f;
    mmqk_op_t o;
    f = mmqk_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.len = d.res[0][31:0];
    o.sink = f.sink;
    o.first_block = d.res[1][31:0];
    o.mask = d.res[2][15:0];
    o.masked = d.res[3][31:0];
    o.ab = d.res[4][19:0];
    o.ab_s0 = f.ab_s0;
    o.ab_s1 = f.ab_s1;
    o.n0 = d.res[5][31:0];
    o.n1 = f.n1;
    o.bits = f.bits;
    o.dst = d.res[6][19:0];
    o.dst_s0 = f.dst_s0;
    o.dst_s1 = f.dst_s1;
    o.dual = f.dual;
    o.k = f.k;
    return o;
  endfunction

  // MMPV as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic signed [31:0] len;
    logic [11:0] sink;
    logic signed [31:0] first_block;
    logic [15:0] mask;
    logic signed [31:0] masked;
    logic [19:0] ab;
    logic [19:0] ab_s0;
    logic [19:0] ab_s1;
    logic signed [31:0] n0;
    logic [9:0] n1;
    logic [0:0] bits;
    logic [19:0] dst;
    logic [19:0] dst_s0;
    logic [19:0] dst_s1;
    logic [0:0] dual;
    logic [11:0] slots;
    logic [11:0] row_slots;
  } mmpv_op_t;

  function automatic mmpv_op_t mmpv_op(dispatch_t d);
    mmpv_t f;
    mmpv_op_t o;
    f = mmpv_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.len = d.res[0][31:0];
    o.sink = f.sink;
    o.first_block = d.res[1][31:0];
    o.mask = d.res[2][15:0];
    o.masked = d.res[3][31:0];
    o.ab = d.res[4][19:0];
    o.ab_s0 = f.ab_s0;
    o.ab_s1 = f.ab_s1;
    o.n0 = d.res[5][31:0];
    o.n1 = f.n1;
    o.bits = f.bits;
    o.dst = d.res[6][19:0];
    o.dst_s0 = f.dst_s0;
    o.dst_s1 = f.dst_s1;
    o.dual = f.dual;
    o.slots = f.slots;
    o.row_slots = f.row_slots;
    return o;
  endfunction

  // NORM as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [19:0] src;
    logic [19:0] src_s0;
    logic [19:0] src_s1;
    logic [19:0] dst;
    logic [19:0] dst_s0;
    logic [19:0] dst_s1;
    logic signed [31:0] n0;
    logic [9:0] n1;
    logic [23:0] len;
    logic [2:0] quant;
    logic [19:0] ab;
    logic [19:0] ab_s0;
    logic [19:0] ab_s1;
    logic [0:0] kind;
    logic [19:0] gamma;
    logic [19:0] beta;
    logic [31:0] inv_n;
    logic [31:0] eps;
  } norm_op_t;

  function automatic norm_op_t norm_op(dispatch_t d);
    norm_t f;
    norm_op_t o;
    f = norm_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.src = d.res[0][19:0];
    o.src_s0 = f.src_s0;
    o.src_s1 = f.src_s1;
    o.dst = d.res[1][19:0];
    o.dst_s0 = f.dst_s0;
    o.dst_s1 = f.dst_s1;
    o.n0 = d.res[2][31:0];
    o.n1 = f.n1;
    o.len = f.len;
    o.quant = f.quant;
    o.ab = d.res[3][19:0];
    o.ab_s0 = f.ab_s0;
    o.ab_s1 = f.ab_s1;
    o.kind = f.kind;
    o.gamma = f.gamma;
    o.beta = f.beta;
    o.inv_n = f.inv_n;
    o.eps = f.eps;
    return o;
  endfunction

  // ACT as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [19:0] src;
    logic [19:0] src_s0;
    logic [19:0] src_s1;
    logic [19:0] dst;
    logic [19:0] dst_s0;
    logic [19:0] dst_s1;
    logic signed [31:0] n0;
    logic [9:0] n1;
    logic [23:0] len;
    logic [2:0] quant;
    logic [19:0] ab;
    logic [19:0] ab_s0;
    logic [19:0] ab_s1;
    logic [1:0] kind;
    logic [0:0] gated;
    logic [19:0] gate;
    logic [19:0] gate_s0;
    logic [19:0] gate_s1;
  } act_op_t;

  function automatic act_op_t act_op(dispatch_t d);
    act_t f;
    act_op_t o;
    f = act_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.src = d.res[0][19:0];
    o.src_s0 = f.src_s0;
    o.src_s1 = f.src_s1;
    o.dst = d.res[1][19:0];
    o.dst_s0 = f.dst_s0;
    o.dst_s1 = f.dst_s1;
    o.n0 = d.res[2][31:0];
    o.n1 = f.n1;
    o.len = f.len;
    o.quant = f.quant;
    o.ab = d.res[3][19:0];
    o.ab_s0 = f.ab_s0;
    o.ab_s1 = f.ab_s1;
    o.kind = f.kind;
    o.gated = f.gated;
    o.gate = d.res[4][19:0];
    o.gate_s0 = f.gate_s0;
    o.gate_s1 = f.gate_s1;
    return o;
  endfunction

  // ADD as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [19:0] src;
    logic [19:0] src_s0;
    logic [19:0] src_s1;
    logic [19:0] dst;
    logic [19:0] dst_s0;
    logic [19:0] dst_s1;
    logic signed [31:0] n0;
    logic [9:0] n1;
    logic [23:0] len;
    logic [2:0] quant;
    logic [19:0] ab;
    logic [19:0] ab_s0;
    logic [19:0] ab_s1;
    logic [19:0] other;
    logic [19:0] other_s0;
    logic [19:0] other_s1;
  } add_op_t;

  function automatic add_op_t add_op(dispatch_t d);
    add_t f;
    add_op_t o;
    f = add_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.src = d.res[0][19:0];
    o.src_s0 = f.src_s0;
    o.src_s1 = f.src_s1;
    o.dst = d.res[1][19:0];
    o.dst_s0 = f.dst_s0;
    o.dst_s1 = f.dst_s1;
    o.n0 = d.res[2][31:0];
    o.n1 = f.n1;
    o.len = f.len;
    o.quant = f.quant;
    o.ab = d.res[3][19:0];
    o.ab_s0 = f.ab_s0;
    o.ab_s1 = f.ab_s1;
    o.other = d.res[4][19:0];
    o.other_s0 = f.other_s0;
    o.other_s1 = f.other_s1;
    return o;
  endfunction

  // ROPE as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [19:0] src;
    logic [19:0] src_s0;
    logic [19:0] src_s1;
    logic [19:0] dst;
    logic [19:0] dst_s0;
    logic [19:0] dst_s1;
    logic signed [31:0] n0;
    logic [9:0] n1;
    logic [23:0] len;
    logic [2:0] quant;
    logic [19:0] ab;
    logic [19:0] ab_s0;
    logic [19:0] ab_s1;
    logic [19:0] has_table;
    logic [19:0] table_s0;
  } rope_op_t;

  function automatic rope_op_t rope_op(dispatch_t d);
    rope_t f;
    rope_op_t o;
    f = rope_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.src = d.res[0][19:0];
    o.src_s0 = f.src_s0;
    o.src_s1 = f.src_s1;
    o.dst = d.res[1][19:0];
    o.dst_s0 = f.dst_s0;
    o.dst_s1 = f.dst_s1;
    o.n0 = d.res[2][31:0];
    o.n1 = f.n1;
    o.len = f.len;
    o.quant = f.quant;
    o.ab = d.res[3][19:0];
    o.ab_s0 = f.ab_s0;
    o.ab_s1 = f.ab_s1;
    o.has_table = f.has_table;
    o.table_s0 = f.table_s0;
    return o;
  endfunction

  // SOFTMAX as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic signed [31:0] len;
    logic [11:0] sink;
    logic signed [31:0] first_block;
    logic [15:0] mask;
    logic signed [31:0] masked;
    logic [19:0] src;
    logic [19:0] src_s0;
    logic [19:0] src_s1;
    logic [19:0] ks;
    logic [19:0] vs;
    logic [19:0] kv_s;
    logic [9:0] group;
    logic signed [31:0] n0;
    logic [9:0] n1;
    logic signed [31:0] qpos;
    logic [23:0] window;
    logic [15:0] sink_tokens;
    logic [31:0] alpha;
    logic [19:0] ab;
    logic [19:0] ab_s0;
    logic [19:0] ab_s1;
  } softmax_op_t;

  function automatic softmax_op_t softmax_op(dispatch_t d);
    softmax_t f;
    softmax_op_t o;
    f = softmax_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.len = d.res[0][31:0];
    o.sink = f.sink;
    o.first_block = d.res[1][31:0];
    o.mask = d.res[2][15:0];
    o.masked = d.res[3][31:0];
    o.src = d.res[4][19:0];
    o.src_s0 = f.src_s0;
    o.src_s1 = f.src_s1;
    o.ks = f.ks;
    o.vs = f.vs;
    o.kv_s = f.kv_s;
    o.group = f.group;
    o.n0 = d.res[5][31:0];
    o.n1 = f.n1;
    o.qpos = d.res[6][31:0];
    o.window = f.window;
    o.sink_tokens = f.sink_tokens;
    o.alpha = f.alpha;
    o.ab = d.res[7][19:0];
    o.ab_s0 = f.ab_s0;
    o.ab_s1 = f.ab_s1;
    return o;
  endfunction

  // STV as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [19:0] src;
    logic [19:0] src_row;
    logic signed [31:0] rows;
    logic [19:0] slots;
    logic [39:0] addr;
    logic [31:0] row;
  } stv_op_t;

  function automatic stv_op_t stv_op(dispatch_t d);
    stv_t f;
    stv_op_t o;
    f = stv_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.src = d.res[0][19:0];
    o.src_row = f.src_row;
    o.rows = d.res[1][31:0];
    o.slots = f.slots;
    o.addr = d.res[2][39:0];
    o.row = f.row;
    return o;
  endfunction

  // STKV as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [0:0] kind;
    logic [0:0] bits;
    logic [19:0] ab;
    logic [19:0] ab_s0;
    logic [19:0] ab_s1;
    logic signed [31:0] n0;
    logic [9:0] n1;
    logic [15:0] len;
    logic signed [31:0] pos;
    logic [39:0] addr;
    logic [31:0] head;
    logic [19:0] unit_bytes;
    logic [39:0] scales;
  } stkv_op_t;

  function automatic stkv_op_t stkv_op(dispatch_t d);
    stkv_t f;
    stkv_op_t o;
    f = stkv_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.kind = f.kind;
    o.bits = f.bits;
    o.ab = d.res[0][19:0];
    o.ab_s0 = f.ab_s0;
    o.ab_s1 = f.ab_s1;
    o.n0 = d.res[1][31:0];
    o.n1 = f.n1;
    o.len = f.len;
    o.pos = d.res[2][31:0];
    o.addr = d.res[3][39:0];
    o.head = f.head;
    o.unit_bytes = f.unit_bytes;
    o.scales = d.res[4][39:0];
    return o;
  endfunction

  // XCHG as its unit sees it: operands resolved, counts as 32-bit signed numbers.
  typedef struct packed {
    logic [5:0] opcode;
    logic [3:0] wait_mask;
    logic [3:0] signal_mask;
    logic [19:0] src;
    logic [19:0] src_row;
    logic [19:0] dst;
    logic [19:0] dst_row;
    logic [19:0] n;
    logic signed [31:0] n0;
  } xchg_op_t;

  function automatic xchg_op_t xchg_op(dispatch_t d);
    xchg_t f;
    xchg_op_t o;
    f = xchg_t'(d.inst);
    o.opcode = f.opcode;
    o.wait_mask = f.wait_mask;
    o.signal_mask = f.signal_mask;
    o.src = d.res[0][19:0];
    o.src_row = f.src_row;
    o.dst = d.res[1][19:0];
    o.dst_row = f.dst_row;
    o.n = f.n;
    o.n0 = d.res[2][31:0];
    return o;
  endfunction

endpackage
