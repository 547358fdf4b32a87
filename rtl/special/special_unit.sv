// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Unit S: NORM, ACT, ADD, ROPE and SOFTMAX (docs/rtl.md, "Special-function unit"). An instruction's vectors are done in batches,
// pass by pass: a pass streams the words of all vectors of the batch through sfu_lanes; results go back to the vector buffer,
// into ordered sums, into maxima, or as codes to the activation buffer. What belongs to one vector (addresses, scalars) lies
// in small memories. A vector takes part in a pass when its scalars of the pass before are there.

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

  typedef enum logic [2:0] {
    StIdle,
    StDecode,
    StTake,
    StPrepare,
    StStart,
    StPass,
    StSwitch,
    StGive
  } state_e;
  state_e state_q;  // StPrepare: what the pass does; StStart: it begins

  // --- the instruction -------------------------------------------------------------------------------------------
  dispatch_t op_q;
  // which instruction it is, decoded when it comes
  logic is_norm, is_act, is_add, is_rope, is_softmax, is_layer;
  /* verilator lint_off UNUSEDSIGNAL */  // views of the whole instruction; common fields are read in one of them
  norm_op_t norm;
  act_op_t act;
  add_op_t addi;
  rope_op_t rope;
  softmax_op_t sm;
  /* verilator lint_on UNUSEDSIGNAL */
  assign norm = norm_op(op_q);
  assign act = act_op(op_q);
  assign addi = add_op(op_q);
  assign rope = rope_op(op_q);
  assign sm = softmax_op(op_q);

  assign is_layer = norm.kind == 1'(NormKindLayer);

  // fields that all have (the vectors' layout is the same in NORM, ACT, ADD and ROPE), a cycle behind op_q
  logic [19:0] src, src_s0, src_s1, dst, dst_s0, dst_s1, ab, ab_s0, ab_s1;
  logic signed [31:0] n0;
  logic [9:0] n1, head_last;  // head_last, row_last: of the last vector
  logic [31:0] row_last;
  logic [31:0] len;
  quant_e quant;
  always_ff @(posedge clk_i) begin
    if (is_softmax) begin
      {src, src_s0, src_s1} <= {sm.src, sm.src_s0, sm.src_s1};
      {dst, dst_s0, dst_s1} <= {sm.src, sm.src_s0, sm.src_s1};
      {ab, ab_s0, ab_s1}    <= {sm.ab, sm.ab_s0, sm.ab_s1};
      n0 <= sm.n0;
      n1 <= sm.n1;
      len <= sm.len < 0 ? 32'd0 : sm.len;
      quant <= QuantDual;
    end else begin
      {src, src_s0, src_s1} <= {norm.src, norm.src_s0, norm.src_s1};
      {dst, dst_s0, dst_s1} <= {norm.dst, norm.dst_s0, norm.dst_s1};
      {ab, ab_s0, ab_s1}    <= {norm.ab, norm.ab_s0, norm.ab_s1};
      n0 <= norm.n0;
      n1 <= norm.n1;
      len <= 32'(norm.len);
      quant <= quant_e'(norm.quant);
    end
    row_last  <= 32'(is_softmax ? sm.n0 : norm.n0) - 32'd1;
    head_last <= (is_softmax ? sm.n1 : norm.n1) - 10'd1;
  end

  // --- the vectors of the batch ----------------------------------------------------------------------------------
  // One a cycle is described, up to Batch of them; the first pass may begin with the first.
  typedef struct packed {
    logic [31:0] query;   // position; keys up to it are visible,
    logic [31:0] low;     // and with a window only those behind this one
    logic [19:0] src;
    logic [19:0] dst;
    logic [19:0] ab;
    logic [19:0] second;  // gate, other operand, rope table row, or key scales
    logic [19:0] third;   // value scales
  } vector_t;
  vector_t vectors[Batch];
  vector_t at_q, at0_q;  // the next vector; the one of its row with i1 = 0
  logic [ 9:0] i1_q;
  logic [31:0] i0_q;
  logic [ 5:0] vectors_q;  // described
  logic described_q, over_q;  // the batch is complete; so is the instruction
  logic vector_last, describe;
  logic [19:0] second, second_s0, second_s1;
  always_comb begin
    case (1'b1)  // before a reset, more than one may be set
      is_act: {second, second_s0, second_s1} = {act.gate, act.gate_s0, act.gate_s1};
      is_add: {second, second_s0, second_s1} = {addi.other, addi.other_s0, addi.other_s1};
      is_softmax: {second, second_s0, second_s1} = {sm.ks, 20'd0, 20'd0};
      default: {second, second_s0, second_s1} = {rope.has_table, rope.table_s0, 20'd0};
    endcase
  end
  // heads of one KV head share its scales
  logic [9:0] in_group_q;  // heads left of the group
  logic group_end;
  logic [19:0] kv_step;
  assign group_end = in_group_q == 10'd1;
  assign kv_step   = group_end ? sm.kv_s : 20'd0;
  vector_t first_vector, next_row, next_head;
  always_comb begin
    first_vector = '{
        query: sm.qpos,
        low: sm.qpos - {8'd0, sm.window},
        src: src,
        dst: dst,
        ab: ab,
        second: second,
        third: sm.vs
    };
    next_row = '{
        query: at0_q.query + 32'd1,
        low: at0_q.low + 32'd1,
        src: at0_q.src + src_s0,
        dst: at0_q.dst + dst_s0,
        ab: at0_q.ab + ab_s0,
        second: at0_q.second + second_s0,
        third: sm.vs
    };
    next_head = '{
        query: at_q.query,
        low: at_q.low,
        src: at_q.src + src_s1,
        dst: at_q.dst + dst_s1,
        ab: at_q.ab + ab_s1,
        second: at_q.second + (is_softmax ? kv_step : second_s1),
        third: at_q.third + kv_step
    };
  end
  assign vector_last = i1_q == head_last && i0_q == row_last;
  assign describe = (state_q == StPrepare || state_q == StStart || state_q == StPass) && !described_q;

  // --- the pass --------------------------------------------------------------------------------------------------
  logic [1:0] pass_q;
  logic       codes_q;  // the pass that makes codes of the result
  typedef struct packed {
    stages_t stages;
    logic [Streams-1:0] uses;
    logic to_vb;
    logic to_sum;
    logic to_codes;
    logic to_scalar;
    logic [3:0] shift;  // of the streams that have one: a half of a head need not be whole words
    max_e max_mode;
    program_e program_id;
    logic last_pass;
  } pass_t;
  pass_t plain;  // reads x and does nothing else
  pass_t make, pass_cfg_q;  // made in StPrepare, used from StStart on
  logic [31:0] half;  // rope: elements of a half
  logic        has_quant;
  assign half = len >> 1;
  assign has_quant = quant != QuantNone;

  // scalars of the vectors, and those of the issue
  logic [31:0] mean_mem[Batch];
  logic [31:0] r_mem[Batch];
  logic [31:0] top_score_mem[Batch];
  logic [31:0] max_mem[Batch];
  logic [31:0] scale_mem[Batch];
  logic [31:0] inverse_mem[Batch];
  slot_t slot;  // at the streams' heads

  always_comb begin
    plain               = '0;
    plain.uses[StreamX] = 1'b1;
    plain.max_mode      = MaxNone;
    plain.program_id    = (quant == QuantKv8 || quant == QuantKv4) ? ScalarQuantKv : ScalarQuant;
    make                = plain;
    make.last_pass      = !has_quant;
    // the pass that writes the result comes last but one if codes are made
    case (1'b1)  // before a reset, more than one may be set
      is_norm: begin
        if (pass_q == 2'd0) begin  // sum of x * x, or of x
          make.to_sum     = 1'b1;
          make.last_pass  = 1'b0;
          make.to_scalar  = 1'b1;
          make.stages.m1  = is_layer ? M1Pass : M1Self;
          make.program_id = is_layer ? ScalarMean : ScalarRsqrt;
        end else if (is_layer && pass_q == 2'd1) begin  // sum of (x - mean)^2
          make.to_sum     = 1'b1;
          make.last_pass  = 1'b0;
          make.to_scalar  = 1'b1;
          make.stages.a0  = A0Scalar;
          make.stages.m1  = M1Self;
          make.program_id = ScalarRsqrt;
        end else begin
          make.to_vb         = 1'b1;
          make.stages.a0     = is_layer ? A0Scalar : A0Pass;
          make.stages.m1     = M1Scalar;
          make.stages.m2     = M2StreamY;
          make.uses[StreamY] = 1'b1;
          if (is_layer) begin
            make.stages.a3 = A3StreamZ;
            make.uses[StreamZ] = 1'b1;
          end
        end
      end
      is_act: begin
        make.to_vb = 1'b1;
        make.uses[StreamW] = act.gated;
        make.stages.m11 = act.gated;
        unique case (act_kind_e'(act.kind))
          ActKindRelu: make.stages.a0 = A0Relu;
          ActKindSilu, ActKindGelu: begin
            make.stages.m6  = 1'b1;
            make.stages.e7  = 1'b1;
            make.stages.a8  = 1'b1;
            make.stages.r9  = 1'b1;
            make.stages.m10 = M10X;
            if (act_kind_e'(act.kind) == ActKindGelu) begin
              make.stages.m1 = M1Self;
              make.stages.m2 = M2Scalar;
              make.stages.a3 = A3Scalar;
              make.stages.m4 = 1'b1;
            end
          end
          default: ;
        endcase
      end
      is_add: begin
        make.to_vb = 1'b1;
        make.stages.a0 = A0StreamY;
        make.uses[StreamY] = 1'b1;
      end
      is_rope: begin
        make.to_vb         = 1'b1;
        make.stages.rotate = 1'b1;
        make.stages.m1     = M1StreamY;
        make.stages.a3     = A3Side;
        make.uses          = '1;
        make.shift         = half[3:0];
      end
      default: begin  // SOFTMAX
        make.stages.m1 = M1StreamY;
        make.stages.m2 = M2Scalar;
        make.uses[StreamY] = 1'b1;
        make.last_pass = 1'b0;
        if (pass_q == 2'd0) begin
          make.max_mode = MaxOrdered;
        end else begin
          make.to_vb = 1'b1;
          make.to_sum = 1'b1;
          make.uses[StreamZ] = 1'b1;
          make.stages.a3 = A3Scalar;
          make.stages.e7 = 1'b1;
          make.stages.m10 = M10StreamZ;
          make.to_scalar = 1'b1;
          make.program_id = ScalarSoftmax;
        end
      end
    endcase
    if (make.to_vb && has_quant) begin
      make.max_mode  = MaxMagnitude;
      make.to_scalar = 1'b1;
      make.last_pass = 1'b0;
    end
    if (codes_q) begin  // the result once more, as codes
      make           = plain;
      make.stages.m1 = M1Scalar;
      make.to_codes  = 1'b1;
      make.last_pass = 1'b1;
    end
  end

  always_ff @(posedge clk_i) pass_cfg_q <= make;
  stages_t stages;
  logic [Streams-1:0] uses;
  logic to_vb, to_sum, to_codes, to_scalar, last_pass;
  logic [3:0] shift;
  max_e max_mode;
  program_e program_id;
  assign {stages, uses, to_vb, to_sum, to_codes, to_scalar, shift, max_mode, program_id, last_pass} = pass_cfg_q;

  // Scalars of the issue; what a stage does not use may be anything.
  scalars_t scalars, issue_scalars_q;
  always_comb begin
    scalars.s0 = negate(mean_mem[slot.vec]);
    scalars.s1 = codes_q ? inverse_mem[slot.vec] : r_mem[slot.vec];
    scalars.s2 = is_softmax ? sm.alpha : GeluC;
    scalars.s3 = is_softmax ? negate(top_score_mem[slot.vec]) : One;
  end

  // --- what the pass goes through --------------------------------------------------------------------------------
  logic [31:0] words;  // words of the vector (rope: of a half)
  logic slot_valid, slot_take, slots_done, meta_room, meta_valid, pass_start;
  logic [Streams-1:0] index_room;
  slot_t next_slot;
  logic [5:0] allowed, allowed_q;
  always_ff @(posedge clk_i) words <= (((is_rope && !codes_q) ? half : len) + 32'd15) >> 4;
  special_index i_index (
      .clk_i,
      .rst_ni,
      .start_i        (pass_start),
      .header_i       (codes_q),
      .runs_i         (is_softmax),
      .words_i        (words),
      .vectors_i      (vectors_q),
      .vectors_valid_i(described_q),
      .allowed_i      (allowed_q),
      .done_o         (slots_done),
      .len_i          (sm.len),
      .sink_i         (sm.sink),
      .first_i        (sm.first_block),
      .masked_i       (sm.masked != 0),
      .mask_i         (sm.mask),
      .mb_addr_o,
      .mb_data_i,
      .valid_o        (slot_valid),
      .slot_o         (next_slot),
      .ready_i        (slot_take)
  );
  logic read;  // the slot has words
  assign read = !next_slot.header && !next_slot.empty;
  assign slot_take = slot_valid && (!read || (&(index_room | ~uses))) && meta_room;

  // addresses of the slot's words; end of its row, for streams with a shift
  logic [Streams-1:0][19:0] base, row_end;
  vector_t there;
  assign there = vectors[next_slot.vec];
  always_comb begin
    base          = '0;
    row_end       = '0;
    base[StreamX] = codes_q ? there.dst : there.src;
    case (1'b1)  // before a reset, more than one may be set
      is_norm: begin
        base[StreamY] = norm.gamma;
        base[StreamZ] = norm.beta;
      end
      is_act: base[StreamW] = there.second;
      is_add: base[StreamY] = there.second;
      is_rope: begin
        base[StreamY] = there.second;  // cos
        base[StreamZ] = there.second + 20'(half >> 4);  // sin
        base[StreamW] = there.src + 20'(half >> 4);
        row_end[StreamZ] = there.second + 20'((len - 32'd1) >> 4);
        row_end[StreamW] = there.src + 20'((len - 32'd1) >> 4);
      end
      default: begin
        base[StreamY] = there.second;
        base[StreamZ] = there.third;
      end
    endcase
  end

  // --- streams ---------------------------------------------------------------------------------------------------
  logic [Streams-1:0] word_valid;
  logic [Streams-1:0][15:0][31:0] word;
  logic word_take, solo;  // solo: a slot without words
  logic [Streams-1:0] feeds_q;  // streams with words of the slot
  logic fresh_q;  // nothing of the slot has been issued
  for (genvar s = 0; s < Streams; s++) begin : gen_stream
    localparam logic Shifts = s == StreamZ || s == StreamW;
    logic index_there, index_used;
    logic [19:0] index_head, end_head;
    fifo #(
        .Width(40),
        .Depth(4)
    ) i_index (
        .clk_i,
        .rst_ni,
        .in_valid_i (slot_take && read && uses[s]),
        .in_data_i  ({row_end[s], base[s] + next_slot.index}),
        .in_ready_o (index_room[s]),
        .out_valid_o(index_there),
        .out_data_o ({end_head, index_head}),
        .out_ready_i(index_used),
        .count_o    ()
    );
    word_stream i_stream (
        .clk_i,
        .rst_ni,
        .base_i       (20'd0),
        .end_i        (end_head),
        .shift_i      (Shifts ? shift : 4'd0),
        .index_valid_i(index_there),
        .index_i      (index_head),
        .index_ready_o(index_used),
        .valid_o      (word_valid[s]),
        .data_o       (word[s]),
        .ready_i      (word_take && feeds_q[s]),
        .rd_valid_o   (rd_valid_o[s]),
        .rd_addr_o    (rd_addr_o[s]),
        .rd_ready_i   (rd_ready_i[s]),
        .rd_rvalid_i  (rd_rvalid_i[s]),
        .rd_rdata_i   (rd_rdata_i[s])
    );
  end

  // the slot at the streams' heads, in a register: whether and what to issue follows from it
  logic head_valid, head_take;
  slot_t head;
  assign head_take = head_valid && (!meta_valid || word_take);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) meta_valid <= 1'b0;
    else meta_valid <= head_valid || (meta_valid && !word_take);
    if (head_take) begin
      slot <= head;
      solo <= head.header || head.empty;
      feeds_q <= uses & {Streams{!(head.header || head.empty)}};
    end
  end
  fifo #(
      .Width($bits(slot_t)),
      .Depth(32)
  ) i_meta (
      .clk_i,
      .rst_ni,
      .in_valid_i (slot_take),
      .in_data_i  (next_slot),
      .in_ready_o (meta_room),
      .out_valid_o(head_valid),
      .out_data_o (head),
      .out_ready_i(head_take),
      .count_o    ()
  );

  // --- issue: parts of a word, rope twice ------------------------------------------------------------------------
  typedef struct packed {
    logic [4:0]       vec;
    logic [19:0]      index;
    logic [1:0]       part;
    logic             high;
    logic             header;
    logic             empty;
    logic             word_last;  // last part of the word (of the half)
    logic             first;      // first issue of the vector
    logic             last;       // last issue of the vector
    logic             which;      // accumulator of its sum
    logic [Lanes-1:0] exists;     // the element exists
    logic [Lanes-1:0] visible;    // ... and counts
  } issue_t;
  issue_t now, now_q, begun, tap_meta, out_meta;
  logic issue, issue_q, part_last, step_last, sum_free, sum_which, which_q, claim;
  logic [1:0] part_q;
  logic high_q;
  logic [6:0] fly_q, room_q;  // issues in the lanes; words on their way to the vector buffer
  logic [Streams-1:0][Lanes-1:0][31:0] lanes_in, lanes_in_q;
  logic lanes_valid, tap_valid;
  logic [Lanes-1:0][31:0] lanes_out, tap_data;
  localparam int unsigned Distance = AddLatency + 1;
  // Whether the adder still works on the row of the slot that comes to the head: {valid, accumulator, row} of the issues before it. Vectors
  // take the two accumulators in turn.
  logic [Distance-1:0][5:0] recent_q;  // [0]: this cycle's is not in it yet
  logic again;
  logic [2:0] wait_row_q;
  logic row_busy_q;
  always_comb begin
    now.vec       = slot.vec;
    now.index     = slot.index;
    now.part      = part_q;
    now.high      = high_q;
    now.header    = slot.header;
    now.empty     = slot.empty;
    now.word_last = part_last;
    now.first     = slot.first && fresh_q;
    now.last      = slot.last && part_last && step_last;
    now.which     = now.first ? sum_which : which_q;
    now.exists    = '0;
    now.visible   = '0;
    for (int s = 0; s < Streams; s++) begin
      for (int l = 0; l < Lanes; l++) lanes_in[s][l] = word[s][32'(part_q)*Lanes+l];
    end
  end
  always_comb begin
    again = meta_valid && {slot.vec[0], slot.index[3:0]} == {head.vec[0], head.index[3:0]};
    for (int k = 0; k < Distance - 1; k++)
    if (recent_q[k] == {1'b1, head.vec[0], head.index[3:0]}) again = 1'b1;
  end
  always_ff @(posedge clk_i) begin
    if (head_take) fresh_q <= 1'b1;
    else if (issue) fresh_q <= 1'b0;
    recent_q <= {recent_q[Distance-2:0], issue, slot.vec[0], slot.index[3:0]};
    if (head_take) begin
      wait_row_q <= 3'(Distance);
      row_busy_q <= again;
    end else begin
      wait_row_q <= wait_row_q - 3'd1;
      if (wait_row_q == 3'd1) row_busy_q <= 1'b0;
    end
    if (!rst_ni) recent_q <= '0;
  end
  // a cycle later: which elements exist and count
  vector_t begun_vector;
  assign begun_vector = vectors[now_q.vec];
  always_comb begin
    begun = now_q;
    for (int l = 0; l < Lanes; l++) begin
      automatic logic [31:0] e = {8'd0, now_q.index, 4'd0} + 32'(now_q.part) * Lanes + 32'(l);
      begun.exists[l] = !now_q.header && !now_q.empty && e < (stages.rotate ? half : len);
      begun.visible[l] = begun.exists[l] && (!is_softmax || (signed'(e) <= signed'(begun_vector.query) &&
          (sm.window == 0 || e < 32'(sm.sink_tokens) || signed'(e) > signed'(begun_vector.low))));
    end
  end
  always_ff @(posedge clk_i) begin
    issue_q <= issue && rst_ni;
    if (issue) begin
      now_q           <= now;
      lanes_in_q      <= lanes_in;
      issue_scalars_q <= scalars;
    end
  end
  assign part_last = solo || 32'(part_q) == Parts - 1;
  assign step_last = solo || !stages.rotate || high_q;
  logic room_left_q;
  always_ff @(posedge clk_i) room_left_q <= room_q < 7'(MaxFly - 1);  // one may have been issued since
  assign issue = meta_valid && (&(word_valid | ~feeds_q)) && (!to_vb || room_left_q) &&
      !(to_sum && (row_busy_q || (now.first && !sum_free)));
  assign word_take = issue && part_last && step_last;
  assign claim = issue && to_sum && now.first;

  sfu_lanes #(
      .Lanes (Lanes),
      .MaxFly(MaxFly)
  ) i_lanes (
      .clk_i,
      .rst_ni,
      .stages_i   (stages),
      .scalars_i  (issue_scalars_q),
      .valid_i    (issue_q),
      .data_i     (lanes_in_q),
      .high_i     (now_q.high),
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
      .in_valid_i(issue_q),
      .in_data_i(begun),
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
      .in_valid_i(issue_q),
      .in_data_i(begun),
      .in_ready_o(),
      .out_valid_o(),
      .out_data_o(out_meta),
      .out_ready_i(lanes_valid),
      .count_o()
  );

  // --- ordered sum -----------------------------------------------------------------------------------------------
  logic [Lanes-1:0][31:0] sum_in;
  logic sum_done, sum_done_which;
  logic [31:0] sum;
  always_comb for (int l = 0; l < Lanes; l++) sum_in[l] = tap_meta.visible[l] ? tap_data[l] : 32'd0;
  special_sum #(
      .Lanes(Lanes)
  ) i_sum (
      .clk_i,
      .rst_ni,
      .claim_i(claim),
      .which_o(sum_which),
      .free_o(sum_free),
      .valid_i(tap_valid && to_sum),
      .which_i(tap_meta.which),
      .last_i(tap_meta.last),
      .row_i(tap_meta.index[3:0]),
      .part_i(tap_meta.part),
      .data_i(sum_in),
      .done_o(sum_done),
      .done_which_o(sum_done_which),
      .sum_o(sum)
  );

  // --- results: u is zero where invisible ------------------------------------------------------------------------
  logic [Lanes-1:0][31:0] value;
  always_comb for (int l = 0; l < Lanes; l++) value[l] = out_meta.visible[l] ? lanes_out[l] : 32'd0;

  logic max_done, max_ordered;
  logic [ 4:0] max_vec;
  logic [31:0] max;
  lane_max #(
      .Lanes(Lanes)
  ) i_max (
      .clk_i,
      .rst_ni,
      .valid_i  (lanes_valid && max_mode != MaxNone),
      .ordered_i(max_mode == MaxOrdered),
      .first_i  (out_meta.first),
      .last_i   (out_meta.last),
      .vec_i    (out_meta.vec),
      .visible_i(out_meta.visible),
      .data_i   (value),
      .done_o   (max_done),
      .ordered_o(max_ordered),
      .vec_o    (max_vec),
      .max_o    (max)
  );

  // words for the vector buffer
  logic [Parts-1:0][Lanes-1:0][31:0] gather_q, gathered;
  logic [Parts-1:0][Lanes-1:0] gather_mask_q, gathered_mask;
  typedef struct packed {
    logic              last;    // of the vector
    logic [19:0]       addr;
    logic [3:0]        shift;
    logic              spills;  // has elements in the word behind
    logic [15:0]       mask;
    logic [15:0][31:0] data;
  } out_t;
  out_t out_in, out_head;
  logic out_valid, out_take, out_second_q;
  always_comb begin
    gathered = gather_q;
    gathered_mask = gather_mask_q;
    gathered[out_meta.part] = value;
    gathered_mask[out_meta.part] = out_meta.exists;
    out_in.last = out_meta.last;
    out_in.addr = vectors[out_meta.vec].dst + out_meta.index + (out_meta.high ? 20'(half >> 4) : 20'd0);
    out_in.shift = out_meta.high ? half[3:0] : 4'd0;
    out_in.spills = out_meta.high && |(32'(16'(gathered_mask)) << half[3:0] >> 16);
    out_in.mask = gathered_mask;
    out_in.data = gathered;
  end
  fifo #(
      .Width($bits(out_t)),
      .Depth(MaxFly)
  ) i_out (
      .clk_i,
      .rst_ni,
      .in_valid_i(lanes_valid && to_vb && out_meta.word_last && !out_meta.empty),
      .in_data_i(out_in),
      .in_ready_o(),
      .out_valid_o(out_valid),
      .out_data_o(out_head),
      .out_ready_i(out_take),
      .count_o()
  );
  logic [31:0] wide_mask;
  assign wide_mask  = 32'(out_head.mask) << out_head.shift;
  assign wr_valid_o = out_valid;
  logic [19:0] out_next_q;  // the word behind
  always_ff @(posedge clk_i) out_next_q <= out_head.addr + 20'd1;
  assign wr_addr_o = out_second_q ? out_next_q : out_head.addr;
  assign wr_mask_o = out_second_q ? wide_mask[31:16] : wide_mask[15:0];
  always_comb for (int l = 0; l < 16; l++) wr_data_o[l] = out_head.data[4'(l)-out_head.shift];
  assign out_take = out_valid && wr_ready_i && (out_second_q || !out_head.spills);

  // codes for the activation buffer
  logic [Lanes-1:0] code_valid;
  logic signed [Lanes-1:0][15:0] code;
  logic [Parts-1:0][Lanes-1:0][15:0] codes_word_q, codes_word;
  issue_t code_meta;
  logic [14:0] top;
  always_ff @(posedge clk_i) begin
    unique case (quant)
      QuantDual: top <= TopDual;
      QuantKv4:  top <= TopKv4;
      QuantKv8:  top <= TopKv8;
      default:   top <= TopA8;
    endcase
  end
  logic to_code_q;
  logic [Lanes-1:0][31:0] to_code_data_q;
  always_ff @(posedge clk_i) begin
    to_code_q <= lanes_valid && to_codes && rst_ni;
    for (int l = 0; l < Lanes; l++) to_code_data_q[l] <= out_meta.exists[l] ? lanes_out[l] : 32'd0;
  end
  for (genvar l = 0; l < Lanes; l++) begin : gen_code
    fp32_to_int i_code (
        .clk_i,
        .rst_ni,
        .valid_i(to_code_q),
        .in_i   (to_code_data_q[l]),
        .top_i  (top),
        .valid_o(code_valid[l]),
        .out_o  (code[l])
    );
  end
  delay_line #(
      .Width($bits(issue_t)),
      .Depth(FpToIntLatency + 1)
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
  assign header = code_meta.header;
  logic [19:0] row_at;
  assign row_at = vectors[code_meta.vec].ab;
  always_ff @(posedge clk_i) begin
    ab_valid_o <= rst_ni && code_valid[0] && code_meta.word_last;
    ab_addr_o  <= header ? row_at : row_at + 20'd1 + (quant == QuantDual ? code_meta.index << 1 : code_meta.index);
    ab_mask_o <= {!header && quant == QuantDual, 1'b1};
    ab_data_o <= '0;
    for (int l = 0; l < 16; l++) begin
      /* verilator lint_off UNUSEDSIGNAL */  // of the sum only the bits of the high code
      automatic logic [15:0] up = code_elems[l] + 16'd64;  // high = (code + 64) >> 7, low = code - 128 high
      /* verilator lint_on UNUSEDSIGNAL */
      if (quant == QuantDual) begin
        ab_data_o[0][8*l+:8] <= up[14:7];
        ab_data_o[1][8*l+:8] <= code_elems[l][7:0] - {up[7], 7'd0};
      end else begin
        ab_data_o[0][8*l+:8] <= code_elems[l][7:0];
      end
    end
    if (header) ab_data_o[0] <= {96'd0, scale_mem[code_meta.vec]};
  end

  // --- scalars ---------------------------------------------------------------------------------------------------
  // A job for each vector: when its sum is there, or its maximum if there is no sum. Sums may come when the next pass has begun.
  typedef struct packed {
    program_e    program_id;
    logic [1:0]  pass;
    logic [4:0]  vec;
    logic [31:0] sum;
  } job_t;
  job_t claimed_q[2];  // what the sum of an accumulator is for
  job_t sum_job_in, sum_job, max_job_in, max_job, job;
  logic sum_job_valid, max_job_valid, job_ready, scalar_done;
  program_e scalar_program;
  logic [1:0] scalar_pass;
  logic [4:0] scalar_vec;
  logic [31:0] result, scale, inverse;
  always_comb begin
    sum_job_in     = claimed_q[sum_done_which];
    sum_job_in.sum = sum;
    max_job_in     = '{program_id: program_id, pass: pass_q, vec: max_vec, sum: '0};
  end
  fifo #(
      .Width($bits(job_t)),
      .Depth(4)
  ) i_sum_jobs (
      .clk_i,
      .rst_ni,
      .in_valid_i (sum_done),
      .in_data_i  (sum_job_in),
      .in_ready_o (),
      .out_valid_o(sum_job_valid),
      .out_data_o (sum_job),
      .out_ready_i(job_ready),
      .count_o    ()
  );
  fifo #(
      .Width($bits(job_t)),
      .Depth(Batch)
  ) i_max_jobs (
      .clk_i,
      .rst_ni,
      .in_valid_i (max_done && to_scalar && !to_sum),
      .in_data_i  (max_job_in),
      .in_ready_o (),
      .out_valid_o(max_job_valid),
      .out_data_o (max_job),
      .out_ready_i(job_ready && !sum_job_valid),
      .count_o    ()
  );
  assign job = sum_job_valid ? sum_job : max_job;
  scalar_unit i_scalar (
      .clk_i,
      .rst_ni,
      .quant_i    (quant),
      .inv_n_i    (norm.inv_n),
      .eps_i      (norm.eps),
      .job_valid_i(sum_job_valid || max_job_valid),
      .program_i  (job.program_id),
      .tag_i      ({job.pass, job.vec}),
      .sum_i      (job.sum),
      .max_i      (max_mem[job.vec]),
      .job_ready_o(job_ready),
      .done_o     (scalar_done),
      .program_o  (scalar_program),
      .tag_o      ({scalar_pass, scalar_vec}),
      .result_o   (result),
      .scale_o    (scale),
      .inverse_o  (inverse)
  );

  always_ff @(posedge clk_i) begin
    if (claim) claimed_q[sum_which] <= '{program_id: program_id, pass: pass_q, vec: slot.vec, sum: '0};
    if (max_done && max_ordered) top_score_mem[max_vec] <= max;
    if (max_done && !max_ordered) max_mem[max_vec] <= max;
    if (scalar_done) begin
      if (scalar_program == ScalarMean) begin
        mean_mem[scalar_vec] <= result;
      end else if (scalar_program == ScalarRsqrt) begin
        r_mem[scalar_vec] <= result;
      end else begin
        scale_mem[scalar_vec]   <= scale;
        inverse_mem[scalar_vec] <= inverse;
      end
    end
  end

  // --- control ---------------------------------------------------------------------------------------------------
  // Vectors of the batch: whose scalars of a pass are there, whose top score is, whose words are all in the vector buffer.
  logic [3:0][5:0] scalars_q;  // [pass]
  logic [5:0] tops_q, written_q, with_scalars;
  logic slots_done_q, batch_start;
  logic [2:0] wait_q;
  assign with_scalars = scalars_q[pass_q-2'd1];
  always_comb begin
    if (codes_q) allowed = (len != 0 && written_q < with_scalars) ? written_q : with_scalars;
    else if (pass_q == 2'd0) allowed = vectors_q;
    else if (is_softmax) allowed = tops_q;
    else allowed = with_scalars;
  end
  always_ff @(posedge clk_i) allowed_q <= allowed;
  logic wait_over, pass_over, batch_over;
  assign wait_over    = state_q == StSwitch && wait_q == 0;
  assign pass_over    = wait_over && !last_pass;
  assign batch_over   = wait_over && last_pass && room_q == 0;
  assign pass_start   = state_q == StStart;
  assign batch_start  = (state_q == StTake && take_ready_i) || batch_over;

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
      {is_norm, is_act, is_add, is_rope, is_softmax} <= '0;
      fly_q <= '0;
      room_q <= '0;
      part_q <= '0;
      high_q <= 1'b0;
      out_second_q <= 1'b0;
      codes_q <= 1'b0;
      slots_done_q <= 1'b0;
      vectors_q <= '0;
      described_q <= 1'b1;
    end else begin
      fly_q  <= fly_q + 7'(issue) - 7'(lanes_valid);
      room_q <= room_q + 7'(issue && to_vb && part_last && !solo) - 7'(out_take);
      if (issue) begin
        which_q <= now.which;
        part_q  <= part_last ? 2'd0 : part_q + 2'd1;
        if (part_last) high_q <= stages.rotate && !solo && !high_q;
      end
      if (out_valid && wr_ready_i) out_second_q <= out_head.spills && !out_second_q;
      if (slots_done) slots_done_q <= 1'b1;
      if (wait_q != 0) wait_q <= wait_q - 3'd1;
      // what is there
      if (scalar_done) scalars_q[scalar_pass] <= scalars_q[scalar_pass] + 6'd1;
      if (max_done && max_ordered) tops_q <= tops_q + 6'd1;
      if (out_take && out_head.last) written_q <= written_q + 6'd1;
      if (describe) begin
        vectors[vectors_q[4:0]] <= at_q;
        vectors_q <= vectors_q + 6'd1;
        i1_q <= i1_q + 10'd1;
        in_group_q <= group_end ? sm.group : in_group_q - 10'd1;
        at_q <= next_head;
        if (i1_q == head_last) begin
          i0_q <= i0_q + 32'd1;
          i1_q <= '0;
          in_group_q <= sm.group;
          at_q <= next_row;
          at0_q <= next_row;
        end
        if (vector_last) over_q <= 1'b1;
        if (vector_last || vectors_q == 6'(Batch - 1)) described_q <= 1'b1;
      end
      if (batch_start) begin
        vectors_q <= '0;
        described_q <= 1'b0;
        pass_q <= '0;
        codes_q <= 1'b0;
        scalars_q <= '0;
        tops_q <= '0;
        written_q <= '0;
      end

      unique case (state_q)
        StIdle:
        if (op_valid_i) begin
          op_q <= op_i;
          is_norm <= op_i.inst[5:0] == OpNorm;
          is_act <= op_i.inst[5:0] == OpAct;
          is_add <= op_i.inst[5:0] == OpAdd;
          is_rope <= op_i.inst[5:0] == OpRope;
          is_softmax <= op_i.inst[5:0] == OpSoftmax;
          state_q <= StDecode;
        end
        StDecode: state_q <= StTake;
        StTake:
        if (take_ready_i) begin
          at_q <= first_vector;
          at0_q <= first_vector;
          i0_q <= '0;
          i1_q <= '0;
          in_group_q <= sm.group;
          over_q <= 1'b0;
          state_q <= (n0 <= 0 || n1 == 0) ? StGive : StPrepare;
        end
        StPrepare: begin
          slots_done_q <= 1'b0;
          state_q <= StStart;
        end
        StStart:  state_q <= StPass;
        StPass:
        if (slots_done_q && !head_valid && !meta_valid && fly_q == 0) begin
          wait_q  <= 3'd5;  // until maxima and codes have gone through
          state_q <= StSwitch;
        end
        StSwitch: begin
          if (pass_over) begin
            slots_done_q <= 1'b0;
            pass_q <= pass_q + 2'd1;
            codes_q <= to_vb;  // a result that goes on as codes
            state_q <= StPrepare;
          end
          if (batch_over) state_q <= over_q ? StGive : StPrepare;
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
