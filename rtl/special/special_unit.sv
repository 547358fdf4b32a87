// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Unit S: NORM, ACT, ADD, ROPE and SOFTMAX, one vector at a time, each vector in passes over its words (docs/rtl.md,
// "Special-function unit"). A pass streams words from the vector buffer through sfu_lanes; results go back to the vector
// buffer, into an ordered sum, into a maximum, or as codes to the activation buffer. Between passes scalar_unit works.

/* verilator lint_off PINCONNECTEMPTY */  // FIFOs whose level fly_q and word_stream count, not their own ready
module special_unit #(
    parameter int unsigned Lanes = 16  // 4, 8 or 16
) (
    input  logic                                                                 clk_i,
    input  logic                                                                 rst_ni,
    input  logic                                                                 op_valid_i,
    input  flightllm_isa_pkg::dispatch_t                                         op_i,
    output logic                                                                 op_ready_o,
    output logic                                                                 take_valid_o,
    output logic                         [                     3:0]              take_mask_o,
    input  logic                                                                 take_ready_i,
    output logic                                                                 give_valid_o,
    output logic                         [                     3:0]              give_mask_o,
    output logic                                                                 idle_o,
    // vector buffer: a read client for each stream, one write client
    output logic                         [special_pkg::Streams-1:0]              rd_valid_o,
    output logic                         [special_pkg::Streams-1:0][ 19:0]       rd_addr_o,
    input  logic                         [special_pkg::Streams-1:0]              rd_ready_i,
    input  logic                         [special_pkg::Streams-1:0]              rd_rvalid_i,
    input  logic                         [special_pkg::Streams-1:0][ 15:0][31:0] rd_rdata_i,
    output logic                                                                 wr_valid_o,
    output logic                         [                    19:0]              wr_addr_o,
    output logic                         [                    15:0][ 31:0]       wr_data_o,
    output logic                         [                    15:0]              wr_mask_o,
    input  logic                                                                 wr_ready_i,
    // activation buffer
    output logic                                                                 ab_valid_o,
    output logic                         [                    19:0]              ab_addr_o,
    output logic                         [                     1:0][127:0]       ab_data_o,
    output logic                         [                     1:0]              ab_mask_o,
    // mask buffer
    output logic                         [                    15:0]              mb_addr_o,
    input  logic                         [                     7:0]              mb_data_i
);
  import flightllm_isa_pkg::*;
  import flightllm_numerics_pkg::*;
  import fp32_pkg::*;
  import special_pkg::*;
  localparam int unsigned Parts = 16 / Lanes;
  localparam int unsigned MaxFly = 64;

  typedef enum logic [3:0] {
    StIdle,
    StTake,
    StBegin,
    StPass,
    StSum,
    StScalar,
    StHeader,
    StNext,
    StGive
  } state_e;
  state_e state_q;

  // --- the instruction -------------------------------------------------------------------------------------------
  dispatch_t op_q;
  logic [5:0] opcode;
  /* verilator lint_off UNUSEDSIGNAL */  // views of the whole instruction; common fields are read in one of them
  norm_op_t norm;
  act_op_t act;
  add_op_t addi;
  rope_op_t rope;
  softmax_op_t sm;
  /* verilator lint_on UNUSEDSIGNAL */
  assign opcode = op_q.inst[5:0];
  assign norm = norm_op(op_q);
  assign act = act_op(op_q);
  assign addi = add_op(op_q);
  assign rope = rope_op(op_q);
  assign sm = softmax_op(op_q);

  logic is_softmax, is_layer;
  assign is_softmax = opcode == OpSoftmax;
  assign is_layer   = norm.kind == 1'(NormKindLayer);

  // fields that all have (the vectors' layout is the same in NORM, ACT, ADD and ROPE)
  logic [19:0] src, src_s0, src_s1, dst, dst_s0, dst_s1, ab, ab_s0, ab_s1;
  logic signed [31:0] n0;
  logic [9:0] n1;
  logic [31:0] len;
  quant_e quant;
  always_comb begin
    if (is_softmax) begin
      {src, src_s0, src_s1} = {sm.src, sm.src_s0, sm.src_s1};
      {dst, dst_s0, dst_s1} = {sm.src, sm.src_s0, sm.src_s1};
      {ab, ab_s0, ab_s1}    = {sm.ab, sm.ab_s0, sm.ab_s1};
      n0 = sm.n0;
      n1 = sm.n1;
      len = sm.len < 0 ? 32'd0 : sm.len;
      quant = QuantDual;
    end else begin
      {src, src_s0, src_s1} = {norm.src, norm.src_s0, norm.src_s1};
      {dst, dst_s0, dst_s1} = {norm.dst, norm.dst_s0, norm.dst_s1};
      {ab, ab_s0, ab_s1}    = {norm.ab, norm.ab_s0, norm.ab_s1};
      n0 = norm.n0;
      n1 = norm.n1;
      len = 32'(norm.len);
      quant = quant_e'(norm.quant);
    end
  end

  // --- the vector ------------------------------------------------------------------------------------------------
  logic [31:0] i0_q;
  logic [ 9:0] i1_q;
  logic [19:0] src_q, src0_q, dst_q, dst0_q, ab_q, ab0_q;
  logic [19:0] second_q, second0_q;  // gate, other operand, or rope table row
  logic [19:0] second, second_s0, second_s1;
  always_comb begin
    unique case (opcode)
      OpAct:   {second, second_s0, second_s1} = {act.gate, act.gate_s0, act.gate_s1};
      OpAdd:   {second, second_s0, second_s1} = {addi.other, addi.other_s0, addi.other_s1};
      default: {second, second_s0, second_s1} = {rope.has_table, rope.table_s0, 20'd0};
    endcase
  end

  // --- the pass --------------------------------------------------------------------------------------------------
  logic     [        1:0]       pass_q;
  logic                         codes_q;  // the pass that makes codes of the result
  stages_t                      stages;
  scalars_t                     scalars;
  logic     [Streams-1:0]       uses;
  logic     [Streams-1:0][19:0] base;
  logic     [Streams-1:0][19:0] row_end;  // last word of the row, for streams with a shift
  logic     [Streams-1:0][ 3:0] shift;
  logic to_vb, to_sum, to_codes, to_scalar;
  max_e max_mode;
  program_e program_id;
  logic last_pass;
  logic [31:0] result, scale, inverse, mean_q, r_q, scale_q, inverse_q, max_q, sum_q, top_score_q;
  logic [31:0] half;  // rope: elements of a half
  logic        has_quant;
  assign half = len >> 1;
  assign has_quant = quant != QuantNone;

  always_comb begin
    stages        = '0;
    scalars       = '0;
    uses          = '0;
    uses[StreamX] = 1'b1;
    base          = '0;
    base[StreamX] = src_q;
    row_end       = '0;
    shift         = '0;
    to_vb         = 1'b0;
    to_sum        = 1'b0;
    to_codes      = 1'b0;
    to_scalar     = 1'b0;
    max_mode      = MaxNone;
    program_id    = (quant == QuantKv8 || quant == QuantKv4) ? ScalarQuantKv : ScalarQuant;
    last_pass     = !has_quant;
    // the pass that writes the result comes last but one if codes are made
    unique case (opcode)
      OpNorm: begin
        base[StreamY] = norm.gamma;
        base[StreamZ] = norm.beta;
        scalars.s0 = negate(mean_q);
        scalars.s1 = r_q;
        if (pass_q == 2'd0) begin  // sum of x * x, or of x
          to_sum     = 1'b1;
          last_pass  = 1'b0;
          to_scalar  = 1'b1;
          stages.m1  = is_layer ? M1Pass : M1Self;
          program_id = is_layer ? ScalarMean : ScalarRsqrt;
        end else if (is_layer && pass_q == 2'd1) begin  // sum of (x - mean)^2
          to_sum     = 1'b1;
          last_pass  = 1'b0;
          to_scalar  = 1'b1;
          stages.a0  = A0Scalar;
          stages.m1  = M1Self;
          program_id = ScalarRsqrt;
        end else begin
          to_vb         = 1'b1;
          stages.a0     = is_layer ? A0Scalar : A0Pass;
          stages.m1     = M1Scalar;
          stages.m2     = M2StreamY;
          uses[StreamY] = 1'b1;
          if (is_layer) begin
            stages.a3 = A3StreamZ;
            uses[StreamZ] = 1'b1;
          end
        end
      end
      OpAct: begin
        to_vb = 1'b1;
        base[StreamW] = second_q;
        uses[StreamW] = act.gated;
        stages.m11 = act.gated;
        unique case (act_kind_e'(act.kind))
          ActKindRelu: stages.a0 = A0Relu;
          ActKindSilu, ActKindGelu: begin
            stages.m6  = 1'b1;
            stages.e7  = 1'b1;
            stages.a8  = 1'b1;
            stages.r9  = 1'b1;
            stages.m10 = M10X;
            if (act_kind_e'(act.kind) == ActKindGelu) begin
              stages.m1  = M1Self;
              stages.m2  = M2Scalar;
              stages.a3  = A3Scalar;
              stages.m4  = 1'b1;
              scalars.s2 = GeluC;
              scalars.s3 = One;
            end
          end
          default: ;
        endcase
      end
      OpAdd: begin
        to_vb = 1'b1;
        stages.a0 = A0StreamY;
        uses[StreamY] = 1'b1;
        base[StreamY] = second_q;
      end
      OpRope: begin
        to_vb          = 1'b1;
        stages.rotate  = 1'b1;
        stages.m1      = M1StreamY;
        stages.a3      = A3Side;
        uses           = '1;
        base[StreamY]  = second_q;  // cos
        base[StreamZ]  = second_q + 20'(half >> 4);  // sin
        base[StreamW]  = src_q + 20'(half >> 4);
        shift[StreamZ] = half[3:0];
        shift[StreamW] = half[3:0];
        row_end[StreamZ] = second_q + 20'((len - 32'd1) >> 4);
        row_end[StreamW] = src_q + 20'((len - 32'd1) >> 4);
      end
      default: begin  // SOFTMAX
        base[StreamY] = sm.ks;
        base[StreamZ] = sm.vs;
        stages.m1 = M1StreamY;
        stages.m2 = M2Scalar;
        scalars.s2 = sm.alpha;
        uses[StreamY] = 1'b1;
        last_pass = 1'b0;
        if (pass_q == 2'd0) begin
          max_mode = MaxOrdered;
        end else begin
          to_vb = 1'b1;
          to_sum = 1'b1;
          uses[StreamZ] = 1'b1;
          stages.a3 = A3Scalar;
          stages.e7 = 1'b1;
          stages.m10 = M10StreamZ;
          scalars.s3 = negate(top_score_q);
          to_scalar = 1'b1;
          program_id = ScalarSoftmax;
        end
      end
    endcase
    if (to_vb && has_quant) begin
      max_mode  = MaxMagnitude;
      to_scalar = 1'b1;
      last_pass = 1'b0;
    end
    if (codes_q) begin  // the result once more, as codes
      stages        = '0;
      stages.m1     = M1Scalar;
      scalars       = '0;
      scalars.s1    = inverse_q;
      uses          = '0;
      uses[StreamX] = 1'b1;
      base[StreamX] = dst_q;
      shift         = '0;
      to_vb         = 1'b0;
      to_sum        = 1'b0;
      to_codes      = 1'b1;
      to_scalar     = 1'b0;
      max_mode      = MaxNone;
      last_pass     = 1'b1;
    end
  end

  // --- which words: 0 .. n - 1, or those of the active blocks ----------------------------------------------------
  logic [31:0] words;  // words of the vector (rope: of a half)
  logic run_start, run_valid, run_ready, run_done, run_last;
  logic [19:0] run_from, run_to;
  logic [19:0] index_q, index_end_q;
  logic indexing_q, more_runs_q, all_indexed_q;
  logic index_valid, index_take, meta_room, meta_valid;
  logic [Streams-1:0] index_room;
  assign words = ((stages.rotate ? half : len) + 32'd15) >> 4;
  block_runs i_runs (
      .clk_i,
      .rst_ni,
      .start_i (run_start),
      .len_i   (sm.len),
      .sink_i  (sm.sink),
      .first_i (sm.first_block),
      .masked_i(sm.masked != 0),
      .mask_i  (sm.mask),
      .mb_addr_o,
      .mb_data_i,
      .valid_o (run_valid),
      .from_o  (run_from),
      .to_o    (run_to),
      .last_o  (run_last),
      .ready_i (run_ready),
      .done_o  (run_done)
  );
  assign run_start   = state_q == StBegin && is_softmax;
  assign run_ready   = more_runs_q && !indexing_q && run_valid;
  assign index_valid = indexing_q && (&(index_room | ~uses)) && meta_room;
  assign index_take  = index_valid;

  // --- streams ---------------------------------------------------------------------------------------------------
  logic [Streams-1:0] word_valid;
  logic [Streams-1:0][15:0][31:0] word;
  logic word_take;
  for (genvar s = 0; s < Streams; s++) begin : gen_stream
    logic index_there, index_used;
    logic [19:0] index_head;
    fifo #(
        .Width(20),
        .Depth(4)
    ) i_index (
        .clk_i,
        .rst_ni,
        .in_valid_i (index_take && uses[s]),
        .in_data_i  (index_q),
        .in_ready_o (index_room[s]),
        .out_valid_o(index_there),
        .out_data_o (index_head),
        .out_ready_i(index_used),
        .count_o    ()
    );
    word_stream i_stream (
        .clk_i,
        .rst_ni,
        .base_i       (base[s]),
        .end_i        (row_end[s]),
        .shift_i      (shift[s]),
        .index_valid_i(index_there),
        .index_i      (index_head),
        .index_ready_o(index_used),
        .valid_o      (word_valid[s]),
        .data_o       (word[s]),
        .ready_i      (word_take && uses[s]),
        .rd_valid_o   (rd_valid_o[s]),
        .rd_addr_o    (rd_addr_o[s]),
        .rd_ready_i   (rd_ready_i[s]),
        .rd_rvalid_i  (rd_rvalid_i[s]),
        .rd_rdata_i   (rd_rdata_i[s])
    );
  end

  // the index of the words at the streams' heads
  logic [19:0] meta_index;
  fifo #(
      .Width(20),
      .Depth(32)
  ) i_meta (
      .clk_i,
      .rst_ni,
      .in_valid_i (index_take),
      .in_data_i  (index_q),
      .in_ready_o (meta_room),
      .out_valid_o(meta_valid),
      .out_data_o (meta_index),
      .out_ready_i(word_take),
      .count_o    ()
  );

  // --- issue: parts of a word, rope twice ------------------------------------------------------------------------
  typedef struct packed {
    logic [19:0]      index;
    logic [1:0]       part;
    logic             high;
    logic             last;     // last part of the word (of the half)
    logic [Lanes-1:0] exists;   // the element exists
    logic [Lanes-1:0] visible;  // ... and counts
  } issue_t;
  issue_t now, tap_meta, out_meta;
  logic issue, part_last, step_last;
  logic [1:0] part_q;
  logic high_q;
  logic [6:0] fly_q;
  logic [Streams-1:0][Lanes-1:0][31:0] lanes_in;
  logic lanes_valid, tap_valid;
  logic [Lanes-1:0][31:0] lanes_out, tap_data;
  logic [31:0] query;
  localparam int unsigned Distance = AddLatency + 1;
  logic [Distance-1:0][6:0] recent_q;  // {valid, row, part} of the last issues
  logic too_soon;

  assign query = sm.qpos + i0_q;
  always_comb begin
    now.index = meta_index;
    now.part  = part_q;
    now.high  = high_q;
    now.last  = part_last;
    for (int l = 0; l < Lanes; l++) begin
      automatic logic [31:0] e = {8'd0, meta_index, 4'd0} + 32'(part_q) * Lanes + 32'(l);
      now.exists[l] = e < (stages.rotate ? half : len);
      now.visible[l] = now.exists[l] && (!is_softmax || (signed'(e) <= signed'(query) &&
          (sm.window == 0 || e < 32'(sm.sink_tokens) ||
          signed'(e) > signed'(query) - signed'({8'd0, sm.window}))));
    end
    too_soon = 1'b0;
    for (int k = 0; k < Distance; k++) if (recent_q[k] == {1'b1, meta_index[3:0], part_q}) too_soon = 1'b1;
    for (int s = 0; s < Streams; s++) begin
      for (int l = 0; l < Lanes; l++) lanes_in[s][l] = word[s][32'(part_q)*Lanes+l];
    end
  end
  assign part_last = 32'(part_q) == Parts - 1;
  assign step_last = !stages.rotate || high_q;
  assign issue = state_q == StPass && meta_valid && (&(word_valid | ~uses)) &&
      fly_q < 7'(MaxFly / Parts) && !(to_sum && too_soon);
  assign word_take = issue && part_last && step_last;

  sfu_lanes #(
      .Lanes (Lanes),
      .MaxFly(MaxFly)
  ) i_lanes (
      .clk_i,
      .rst_ni,
      .stages_i   (stages),
      .scalars_i  (scalars),
      .valid_i    (issue),
      .data_i     (lanes_in),
      .high_i     (high_q),
      .tap_valid_o(tap_valid),
      .tap_o      (tap_data),
      .valid_o    (lanes_valid),
      .out_o      (lanes_out)
  );
  fifo #(
      .Width($bits(issue_t)),
      .Depth(MaxFly)
  ) i_tap_meta (
      .clk_i,
      .rst_ni,
      .in_valid_i(issue),
      .in_data_i(now),
      .in_ready_o(),
      .out_valid_o(),
      .out_data_o(tap_meta),
      .out_ready_i(tap_valid),
      .count_o()
  );
  fifo #(
      .Width($bits(issue_t)),
      .Depth(MaxFly)
  ) i_out_meta (
      .clk_i,
      .rst_ni,
      .in_valid_i(issue),
      .in_data_i(now),
      .in_ready_o(),
      .out_valid_o(),
      .out_data_o(out_meta),
      .out_ready_i(lanes_valid),
      .count_o()
  );

  // --- ordered sum -----------------------------------------------------------------------------------------------
  logic [Lanes-1:0][31:0] sum_in;
  logic sum_finish, sum_done;
  logic [31:0] sum;
  always_comb for (int l = 0; l < Lanes; l++) sum_in[l] = tap_meta.visible[l] ? tap_data[l] : 32'd0;
  ordered_sum #(
      .Lanes(Lanes)
  ) i_sum (
      .clk_i,
      .rst_ni,
      .clear_i (state_q == StBegin),
      .valid_i (tap_valid && to_sum),
      .row_i   (tap_meta.index[3:0]),
      .part_i  (tap_meta.part),
      .data_i  (sum_in),
      .finish_i(sum_finish),
      .done_o  (sum_done),
      .sum_o   (sum)
  );

  // --- results: u is zero where invisible ------------------------------------------------------------------------
  logic [Lanes-1:0][31:0] value;
  always_comb for (int l = 0; l < Lanes; l++) value[l] = out_meta.visible[l] ? lanes_out[l] : 32'd0;

  // maximum
  logic [31:0] max_next;
  always_comb begin
    max_next = max_q;
    for (int l = 0; l < Lanes; l++) begin
      if (out_meta.visible[l]) begin
        if (max_mode == MaxMagnitude) begin
          if (magnitude(value[l]) > max_next[30:0]) max_next = {1'b0, magnitude(value[l])};
        end else begin
          max_next = maximum(max_next, value[l]);
        end
      end
    end
  end

  // words for the vector buffer
  logic [Parts-1:0][Lanes-1:0][31:0] gather_q, gathered;
  logic [Parts-1:0][Lanes-1:0] gather_mask_q, gathered_mask;
  typedef struct packed {
    logic [19:0]       addr;
    logic [3:0]        shift;
    logic [15:0]       mask;
    logic [15:0][31:0] data;
  } out_t;
  out_t out_in, out_head;
  logic out_valid, out_take, out_second_q, out_spills;
  always_comb begin
    gathered = gather_q;
    gathered_mask = gather_mask_q;
    gathered[out_meta.part] = value;
    gathered_mask[out_meta.part] = out_meta.exists;
    out_in.addr = dst_q + out_meta.index + (out_meta.high ? 20'(half >> 4) : 20'd0);
    out_in.shift = out_meta.high ? half[3:0] : 4'd0;
    out_in.mask = gathered_mask;
    out_in.data = gathered;
  end
  fifo #(
      .Width($bits(out_t)),
      .Depth(MaxFly)
  ) i_out (
      .clk_i,
      .rst_ni,
      .in_valid_i(lanes_valid && to_vb && out_meta.last),
      .in_data_i(out_in),
      .in_ready_o(),
      .out_valid_o(out_valid),
      .out_data_o(out_head),
      .out_ready_i(out_take),
      .count_o()
  );
  logic [31:0] wide_mask;
  assign wide_mask  = 32'(out_head.mask) << out_head.shift;
  assign out_spills = wide_mask[31:16] != 0;
  assign wr_valid_o = out_valid;
  assign wr_addr_o  = out_head.addr + 20'(out_second_q);
  assign wr_mask_o  = out_second_q ? wide_mask[31:16] : wide_mask[15:0];
  always_comb for (int l = 0; l < 16; l++) wr_data_o[l] = out_head.data[4'(l)-out_head.shift];
  assign out_take = out_valid && wr_ready_i && (out_second_q || !out_spills);

  // codes for the activation buffer
  logic [Lanes-1:0] code_valid;
  logic signed [Lanes-1:0][15:0] code;
  logic [Parts-1:0][Lanes-1:0][15:0] codes_word_q, codes_word;
  issue_t code_meta;
  logic [14:0] top;
  always_comb begin
    unique case (quant)
      QuantDual: top = TopDual;
      QuantKv4:  top = TopKv4;
      QuantKv8:  top = TopKv8;
      default:   top = TopA8;
    endcase
  end
  for (genvar l = 0; l < Lanes; l++) begin : gen_code
    fp32_to_int i_code (
        .clk_i,
        .rst_ni,
        .valid_i(lanes_valid && to_codes),
        .in_i   (out_meta.exists[l] ? lanes_out[l] : 32'd0),
        .top_i  (top),
        .valid_o(code_valid[l]),
        .out_o  (code[l])
    );
  end
  delay_line #(
      .Width($bits(issue_t)),
      .Depth(FpToIntLatency)
  ) i_code_meta (
      .clk_i,
      .in_i (out_meta),
      .out_o(code_meta)
  );
  always_comb begin
    codes_word = codes_word_q;
    codes_word[code_meta.part] = code;
  end
  logic [15:0][15:0] code_elems;
  assign code_elems = codes_word;
  logic header;
  assign header = state_q == StHeader;
  assign ab_valid_o = (code_valid[0] && code_meta.last) || header;
  always_comb begin
    ab_addr_o = header ? ab_q : ab_q + 20'd1 + (quant == QuantDual ? code_meta.index << 1 : code_meta.index);
    ab_mask_o = {!header && quant == QuantDual, 1'b1};
    ab_data_o = '0;
    for (int l = 0; l < 16; l++) begin
      /* verilator lint_off UNUSEDSIGNAL */  // of the sum only the bits of the high code
      automatic logic [15:0] up = code_elems[l] + 16'd64;  // high = (code + 64) >> 7, low = code - 128 high
      /* verilator lint_on UNUSEDSIGNAL */
      if (quant == QuantDual) begin
        ab_data_o[0][8*l+:8] = up[14:7];
        ab_data_o[1][8*l+:8] = code_elems[l][7:0] - {up[7], 7'd0};
      end else begin
        ab_data_o[0][8*l+:8] = code_elems[l][7:0];
      end
    end
    if (header) ab_data_o[0] = {96'd0, scale_q};
  end

  // --- scalars ---------------------------------------------------------------------------------------------------
  logic scalar_start, scalar_done;
  scalar_unit i_scalar (
      .clk_i,
      .rst_ni,
      .start_i  (scalar_start),
      .program_i(program_id),
      .quant_i  (quant),
      .sum_i    (sum_q),
      .max_i    (max_q),
      .inv_n_i  (norm.inv_n),
      .eps_i    (norm.eps),
      .done_o   (scalar_done),
      .result_o (result),
      .scale_o  (scale),
      .inverse_o(inverse)
  );

  // --- control ---------------------------------------------------------------------------------------------------
  logic pass_end, vector_last, start_scalar_q;
  // everything of the pass has come out and is where it belongs
  assign pass_end = state_q == StPass && all_indexed_q && !indexing_q && !meta_valid && fly_q == 0;
  assign sum_finish = pass_end && to_sum;
  assign scalar_start = (pass_end && !to_sum && to_scalar) || start_scalar_q;
  assign vector_last = i1_q + 10'd1 == n1 && i0_q + 32'd1 == 32'(n0);

  // an issue is over when its result has left: to VB, as codes, or at once
  logic settled, code_settled;
  assign settled = to_vb ? out_take : to_codes ? code_settled : lanes_valid && out_meta.last;
  assign code_settled = code_valid[0] && code_meta.last;
  logic counted;
  assign counted      = issue && part_last;  // one a word and half

  assign op_ready_o   = state_q == StIdle;
  assign take_valid_o = state_q == StTake;
  assign take_mask_o  = op_q.inst[9:6];
  assign give_valid_o = state_q == StGive;
  assign give_mask_o  = op_q.inst[13:10];
  assign idle_o       = state_q == StIdle && !op_valid_i;

  always_ff @(posedge clk_i) begin
    if (lanes_valid) begin
      gather_q <= gathered;
      gather_mask_q <= gathered_mask;
    end
    if (code_valid[0]) codes_word_q <= codes_word;
    if (!rst_ni) begin
      state_q <= StIdle;
      fly_q <= '0;
      part_q <= '0;
      high_q <= 1'b0;
      indexing_q <= 1'b0;
      more_runs_q <= 1'b0;
      all_indexed_q <= 1'b0;
      out_second_q <= 1'b0;
      recent_q <= '0;
      start_scalar_q <= 1'b0;
      codes_q <= 1'b0;
    end else begin
      fly_q <= fly_q + 7'(counted) - 7'(settled);
      start_scalar_q <= state_q == StSum && sum_done;
      recent_q <= {recent_q[Distance-2:0], {issue, meta_index[3:0], part_q}};
      if (issue) begin
        part_q <= part_last ? 2'd0 : part_q + 2'd1;
        if (part_last) high_q <= stages.rotate && !high_q;
      end
      if (out_valid && wr_ready_i) out_second_q <= out_spills && !out_second_q;
      if (lanes_valid && max_mode != MaxNone) max_q <= max_next;
      // indices
      if (index_take) begin
        index_q <= index_q + 20'd1;
        if (index_q + 20'd1 == index_end_q) indexing_q <= 1'b0;
      end
      if (run_ready) begin
        index_q <= run_from << 2;
        index_end_q <= run_last ? 20'(words) : run_to << 2;
        indexing_q <= 1'b1;
        if (run_last) more_runs_q <= 1'b0;
      end
      if (state_q == StPass && is_softmax && !more_runs_q && !run_ready) all_indexed_q <= 1'b1;
      if (run_done) more_runs_q <= 1'b0;

      unique case (state_q)
        StIdle:
        if (op_valid_i) begin
          op_q <= op_i;
          state_q <= StTake;
        end
        StTake:
        if (take_ready_i) begin
          i0_q <= '0;
          i1_q <= '0;
          pass_q <= '0;
          codes_q <= 1'b0;
          {src_q, src0_q} <= {src, src};
          {dst_q, dst0_q} <= {dst, dst};
          {ab_q, ab0_q} <= {ab, ab};
          {second_q, second0_q} <= {second, second};
          state_q <= (n0 <= 0 || n1 == 0) ? StGive : StBegin;
        end
        StBegin: begin
          index_q <= '0;
          index_end_q <= 20'(words);
          indexing_q <= !is_softmax && words != 0;
          more_runs_q <= is_softmax;
          all_indexed_q <= !is_softmax;
          part_q <= '0;
          high_q <= 1'b0;
          if (max_mode == MaxMagnitude) max_q <= '0;
          if (max_mode == MaxOrdered) max_q <= MinusInfinity;
          state_q <= StPass;
        end
        StPass:
        if (pass_end) begin
          all_indexed_q <= 1'b0;
          if (max_mode == MaxOrdered) top_score_q <= max_q;
          if (to_sum) state_q <= StSum;
          else if (to_scalar) state_q <= StScalar;
          else if (to_codes) state_q <= StHeader;
          else if (last_pass) state_q <= StNext;
          else begin
            pass_q  <= pass_q + 2'd1;
            state_q <= StBegin;
          end
        end
        StSum:
        if (sum_done) begin
          sum_q   <= sum;
          state_q <= StScalar;
        end
        StScalar:
        if (scalar_done) begin
          if (program_id == ScalarMean) mean_q <= result;
          if (program_id == ScalarRsqrt) r_q <= result;
          scale_q <= scale;
          inverse_q <= inverse;
          codes_q <= to_vb;  // a result that goes on as codes
          pass_q <= pass_q + 2'd1;
          state_q <= StBegin;
        end
        StHeader: state_q <= StNext;
        StNext: begin
          pass_q <= '0;
          codes_q <= 1'b0;
          state_q <= vector_last ? StGive : StBegin;
          i1_q <= i1_q + 10'd1;
          src_q <= src_q + src_s1;
          dst_q <= dst_q + dst_s1;
          ab_q <= ab_q + ab_s1;
          second_q <= second_q + second_s1;
          if (i1_q + 10'd1 == n1) begin
            i1_q <= '0;
            i0_q <= i0_q + 32'd1;
            {src_q, src0_q} <= {2{src0_q + src_s0}};
            {dst_q, dst0_q} <= {2{dst0_q + dst_s0}};
            {ab_q, ab0_q} <= {2{ab0_q + ab_s0}};
            {second_q, second0_q} <= {2{second0_q + second_s0}};
          end
        end
        StGive:   state_q <= StIdle;
        default:  state_q <= StIdle;
      endcase
    end
  end

  logic unused;
  assign unused = &{1'b0, code_valid, tap_meta, code_meta, 1'b0};
endmodule
/* verilator lint_on PINCONNECTEMPTY */
