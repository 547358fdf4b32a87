// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Drain of the matrix unit: reads the accumulators of a finished strip, one row beat of one token at a time, turns
// them into fp32 and writes them to the vector buffer, Lanes = min(16, 4 * Channels) consecutive elements a cycle.
// Gives the instruction's tokens when its last word is written. Two instructions may be open: one here, one in
// execute.

module matrix_drain #(
    parameter int unsigned Vpus       = 8,
    parameter int unsigned Channels   = 4,
    parameter int unsigned Entries    = 512,
    parameter int unsigned ChainVpus  = 1,
    parameter int unsigned I2fLatency = 3
) (
    input  logic                                                     clk_i,
    input  logic                                                     rst_ni,
    // from execute
    input  logic                                                     start_i,
    input  matrix_pkg::mop_t                                         mop_i,
    input  logic               [               25:0]                 tokens_i,
    output logic                                                     start_ready_o,
    input  logic                                                     scale_we_i,
    input  logic               [               15:0]                 scale_index_i,
    input  logic               [               31:0]                 scale_data_i,
    input  logic                                                     strip_valid_i,
    input  matrix_pkg::strip_t                                       strip_i,
    input  logic                                                     strip_half_i,
    output logic                                                     strip_release_o,
    output logic                                                     rho_release_o,
    output logic                                                     waits_o,
    output logic                                                     ce_o,
    // accumulators
    input  logic                                                     op2_valid_i,      // this cycle's read is taken
    output logic               [$clog2(ChainVpus*Entries)-1:0]       addr_o,
    output logic               [                1:0]                 capture_o,        // [side]
    output logic                                                     capture_dual_o,
    output logic                                                     capture_lane_o,
    input  logic               [       Channels-1:0][Vpus-1:0][47:0] captured_i,
    output logic               [                7:0]                 rho_row_o,
    input  logic               [       Channels-1:0][     3:0][31:0] rho_i,
    input  logic               [       Channels-1:0][     3:0][31:0] bias_i,
    // vector buffer
    output logic                                                     rd_valid_o,
    output logic               [               19:0]                 rd_addr_o,
    input  logic                                                     rd_ready_i,
    input  logic                                                     rd_rvalid_i,
    input  logic               [               15:0][    31:0]       rd_rdata_i,
    output logic                                                     wr_valid_o,
    output logic               [               19:0]                 wr_addr_o,
    output logic               [               15:0][    31:0]       wr_data_o,
    output logic               [               15:0]                 wr_mask_o,
    input  logic                                                     wr_ready_i,
    // tokens
    output logic                                                     give_valid_o,
    output logic               [                3:0]                 give_mask_o,
    output logic                                                     idle_o
);
  import matrix_pkg::*;
  localparam int unsigned Lanes = (4 * Channels < 16) ? 4 * Channels : 16;
  localparam int unsigned LogC = $clog2(Channels);
  localparam int unsigned AW = $clog2(Entries);
  localparam int unsigned SW = $clog2(Entries);  // rows of an instruction: never more than accumulators
  localparam int unsigned Flat = Vpus * Channels;
  localparam int unsigned MaxFly = 32;
  localparam int unsigned MulLatency = 3;
  localparam int unsigned AddLatency = 4;
  localparam int unsigned Steps = (Flat + Lanes - 1) / Lanes;

  // --- open instructions and strips ------------------------------------------------------------------------------
  mop_t mop_q[2];
  logic [25:0] tokens_q[2];
  logic [1:0] no_tokens_q;
  logic [1:0] open_q;
  logic head_q, tail_q;  // instruction being drained; slot of the next
  logic [31:0] scale_mem[2*Entries];
  logic op_done, empty;
  assign start_ready_o = open_q != 2'd2;

  strip_t strip;
  logic strip_there, strip_half, strip_take;
  logic [$bits(strip_t):0] strip_fifo;
  fifo #(
      .Width($bits(strip_t) + 1),
      .Depth(4)
  ) i_strips (
      .clk_i,
      .rst_ni,
      .in_valid_i (strip_valid_i),
      .in_data_i  ({strip_half_i, strip_i}),
      .in_ready_o (),
      .out_valid_o(strip_there),
      .out_data_o (strip_fifo),
      .out_ready_i(strip_take),
      .count_o    ()
  );
  assign {strip_half, strip} = strip_fifo;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      mop_q[tail_q] <= mop_i;
      tokens_q[tail_q] <= tokens_i;
      no_tokens_q[tail_q] <= tokens_i == 0;
    end
    // tail_q has moved on when the scales of an instruction come
    if (scale_we_i) scale_mem[{!tail_q, scale_index_i[SW-1:0]}] <= scale_data_i;
    if (!rst_ni) begin
      open_q <= '0;
      head_q <= 1'b0;
      tail_q <= 1'b0;
    end else begin
      open_q <= open_q + 2'(start_i) - 2'(op_done);
      if (start_i) tail_q <= !tail_q;
      if (op_done) head_q <= !head_q;
    end
  end

  // --- walk: row beats, tokens, steps ----------------------------------------------------------------------------
  typedef enum logic [2:0] {
    StWait,
    StRead,
    StEntry,
    StCapture,
    StStep,
    StFlush
  } state_e;
  state_e state_q;
  mop_t mop;
  logic [25:0] tokens;
  assign mop = mop_q[head_q];
  assign tokens = tokens_q[head_q];

  logic [9:0] row_q;
  logic [25:0] token_q;
  logic [AW-1:0] entry_q;
  logic [9:0] i1_q;
  logic [19:0] dst_q, dst0_q;
  logic [31:0] scale_q;
  logic [19:0] slot_q;  // first slot of the row beat, within the strip
  logic [31:0] elem_q;  // first element of the row beat, within the output vector
  logic [19:0] slots_left;
  // Set while the accumulators are read, so that the steps find them in registers.
  logic row_end_q, token_last_q;
  logic [ 7:0] slots_here_q;  // slots of the row beat that exist
  logic [15:0] elems_left_q;  // of its elements, from this step on
  logic [31:0] elem_now_q;  // first element of the step
  logic [15:0] step_q;
  logic        rho_half_q;
  logic [ 5:0] fly_q;  // steps between issue and write
  logic issue, wrote, step_last;
  logic read_grant;
  // A strip whose reads find the accumulators busy gets them by pauses of execute, a cycle for each token's turn. Pairs take 2, 4
  // or 8 cycles: an odd turn meets each of them.
  localparam int unsigned Turn = (Steps + 4) | 1;
  logic [3:0] wait_q;  // cycles that this read has waited
  logic starved_q;  // a read of this strip has waited long
  logic [$clog2(Turn)-1:0] turn_q;
  logic waits_q;  // in a register: much of execute stands behind it

  assign slots_left = strip.slots - slot_q;
  assign step_last = elems_left_q <= 16'(Lanes);
  assign read_grant = state_q == StRead && !op2_valid_i;
  // Two VPUs in a chain: a read gives both sides of a token, or of a dual one the side that it is for (docs/rtl.md).
  logic read_second_q;
  logic reads_two;
  assign reads_two = ChainVpus == 2 && mop.dual;
  if (ChainVpus == 1) begin : gen_own_entry
    assign addr_o = entry_q;
  end else begin : gen_shared_entry
    assign addr_o = {mop.dual ? read_second_q : token_q[0], entry_q};
  end
  assign capture_o = state_q != StEntry ? 2'b00 : reads_two ? {read_second_q, !read_second_q} : 2'b11;
  assign capture_dual_o = mop.dual;
  assign capture_lane_o = token_q[0];
  assign waits_o = waits_q;
  assign ce_o = state_q == StRead || state_q == StEntry;
  assign empty = strip.empty || no_tokens_q[head_q];
  assign strip_take  = (state_q == StWait && open_q != 0 && strip_there && empty) ||
      (issue && step_last && token_last_q && row_end_q);
  assign strip_release_o = strip_take;
  assign rho_release_o = strip_take && mop.kind == KindMm;
  assign idle_o = open_q == 0;

  // --- one step --------------------------------------------------------------------------------------------------
  logic [     19:0] word;
  logic [     15:0] step_mask;
  logic [Lanes-1:0] lane_valid;
  assign word = dst_q + 20'(elem_now_q >> 4);
  for (genvar l = 0; l < Lanes; l++) begin : gen_mask
    assign lane_valid[l] = 16'(l) < elems_left_q;
  end
  if (Lanes == 16) begin : gen_full
    assign step_mask = lane_valid;
  end else begin : gen_part
    assign step_mask = 16'(lane_valid) << elem_now_q[3:0];
  end
  logic ask_more_q;  // a read waits behind another
  assign issue = state_q == StStep && fly_q < 6'(MaxFly) && (!mop.accumulate || !ask_more_q);

  // Reads of old values: two registers part the step from the arbitration of the vector buffer.
  logic [19:0] ask_addr_q, ask_more_addr_q;
  logic ask, ask_valid_q;
  assign ask = issue && mop.accumulate;
  assign rd_valid_o = ask_valid_q;
  assign rd_addr_o = ask_addr_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ask_valid_q <= 1'b0;
      ask_more_q  <= 1'b0;
    end else if (!ask_valid_q || rd_ready_i) begin
      ask_valid_q <= ask || ask_more_q;
      ask_more_q  <= 1'b0;
    end else if (ask) begin
      ask_more_q <= 1'b1;
    end
    if (!ask_valid_q || rd_ready_i) ask_addr_q <= ask_more_q ? ask_more_addr_q : word;
    if (ask) ask_more_addr_q <= word;
  end

  // operands of the lanes: accumulators and scale now; rho and bias come a cycle later
  logic [Flat-1:0][47:0] flat;
  for (genvar v = 0; v < Vpus; v++) begin : gen_flat_v
    for (genvar c = 0; c < Channels; c++) begin : gen_flat_c
      assign flat[v*Channels+c] = captured_i[c][v];
    end
  end
  logic [Steps*Lanes-1:0][47:0] flat_padded;
  assign flat_padded = (Steps * Lanes * 48)'(flat);
  logic [19:0] step_slot;
  assign step_slot = slot_q + 20'((32'(step_q) * Lanes) >> LogC);
  assign rho_row_o = 8'(step_slot >> 2) + (rho_half_q ? 8'(2 * Vpus) : 8'd0);

  logic issue_q;
  logic [Lanes-1:0][47:0] sum_q;
  logic [31:0] s_q;
  logic has_bias_q, has_rho_q;
  logic [1:0] sub_slot_q;  // slot within the rho row (more than four channels)
  logic [5:0] channel_q;  // first channel (more than sixteen)
  always_ff @(posedge clk_i) begin
    if (!rst_ni) issue_q <= 1'b0;
    else issue_q <= issue;
    if (issue) begin
      for (int l = 0; l < Lanes; l++) sum_q[l] <= flat_padded[32'(step_q)*Lanes+l];
      s_q <= scale_q;
      has_bias_q <= mop.bias;
      has_rho_q <= mop.kind == KindMm;
      sub_slot_q <= step_slot[1:0];
      channel_q <= 6'((32'(step_q) * Lanes) & 32'(Channels - 1));
    end
  end

  logic [Lanes-1:0] y_valid;
  logic [Lanes-1:0][31:0] y;
  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [31:0] rho, bias;
    // element l of the step: slot sub_slot + l / C, channel (first channel + l) % C
    if (Channels >= 16) begin : gen_wide
      assign rho  = rho_i[(32'(channel_q)+l)%Channels][sub_slot_q];
      assign bias = bias_i[(32'(channel_q)+l)%Channels][sub_slot_q];
    end else if (Channels == 8) begin : gen_eight
      assign rho  = rho_i[l%Channels][{sub_slot_q[1], 1'(l/Channels)}];
      assign bias = bias_i[l%Channels][{sub_slot_q[1], 1'(l/Channels)}];
    end else begin : gen_four
      assign rho  = rho_i[l%Channels][l/Channels];
      assign bias = bias_i[l%Channels][l/Channels];
    end
    drain_lane #(
        .I2fLatency(I2fLatency),
        .MulLatency(MulLatency),
        .AddLatency(AddLatency)
    ) i_lane (
        .clk_i,
        .rst_ni,
        .valid_i   (issue_q),
        .sum_i     (sum_q[l]),
        .rho_i     (has_rho_q ? rho : 32'h3f800000),
        .scale_i   (s_q),
        .bias_i    (bias),
        .has_bias_i(has_bias_q),
        .valid_o   (y_valid[l]),
        .y_o       (y[l])
    );
  end

  // --- old values, final addition, write -------------------------------------------------------------------------
  typedef struct packed {
    logic        accumulate;
    logic [3:0]  place;       // of the step within its word
    logic [19:0] addr;
    logic [15:0] mask;
  } where_t;
  where_t where_in, where_out;
  logic where_valid;
  assign where_in = '{accumulate: mop.accumulate, place: elem_now_q[3:0], addr: word, mask: step_mask};

  logic y_there, old_there, meet;
  logic [Lanes-1:0][31:0] y_head;
  logic [15:0][31:0] old_head;
  fifo #(
      .Width($bits(where_t)),
      .Depth(MaxFly)
  ) i_where (
      .clk_i,
      .rst_ni,
      .in_valid_i(issue),
      .in_data_i(where_in),
      .in_ready_o(),
      .out_valid_o(where_valid),
      .out_data_o(where_out),
      .out_ready_i(meet),
      .count_o()
  );
  fifo #(
      .Width(32 * Lanes),
      .Depth(MaxFly)
  ) i_y (
      .clk_i,
      .rst_ni,
      .in_valid_i(y_valid[0]),
      .in_data_i(y),
      .in_ready_o(),
      .out_valid_o(y_there),
      .out_data_o(y_head),
      .out_ready_i(meet),
      .count_o()
  );
  fifo #(
      .Width(512),
      .Depth(MaxFly)
  ) i_old (
      .clk_i,
      .rst_ni,
      .in_valid_i(rd_rvalid_i),
      .in_data_i(rd_rdata_i),
      .in_ready_o(),
      .out_valid_o(old_there),
      .out_data_o(old_head),
      .out_ready_i(meet && where_out.accumulate),
      .count_o()
  );
  assign meet = y_there && where_valid && (!where_out.accumulate || old_there);

  // what meets, in registers before the adders
  logic [Lanes-1:0][31:0] old_q, y_q, final_y, passed;
  logic [Lanes-1:0] final_valid;
  where_t where_q;
  logic meet_q;
  always_ff @(posedge clk_i) begin
    meet_q <= rst_ni && meet;
    if (meet) begin
      where_q <= where_out;
      y_q <= y_head;
      for (int l = 0; l < Lanes; l++) old_q[l] <= old_head[(where_out.place&4'(16-Lanes))+4'(l)];
    end
  end
  logic   added;
  where_t where_final;
  delay_line #(
      .Width(1),
      .Depth(AddLatency)
  ) i_added (
      .clk_i,
      .in_i (where_q.accumulate),
      .out_o(added)
  );
  delay_line #(
      .Width($bits(where_t)),
      .Depth(AddLatency)
  ) i_where_final (
      .clk_i,
      .in_i (where_q),
      .out_o(where_final)
  );
  delay_line #(
      .Width(32 * Lanes),
      .Depth(AddLatency)
  ) i_passed (
      .clk_i,
      .in_i (y_q),
      .out_o(passed)
  );
  for (genvar l = 0; l < Lanes; l++) begin : gen_final
    fp32_add i_add (
        .clk_i,
        .rst_ni,
        .valid_i(meet_q),
        .a_i(old_q[l]),
        .b_i(y_q[l]),
        .valid_o(final_valid[l]),
        .out_o(final_y[l])
    );
  end

  logic [Lanes-1:0][31:0] out_lanes, out_data;
  where_t out_where;
  assign out_lanes = added ? final_y : passed;
  fifo #(
      .Width(32 * Lanes + $bits(where_t)),
      .Depth(MaxFly)
  ) i_out (
      .clk_i,
      .rst_ni,
      .in_valid_i(final_valid[0]),
      .in_data_i({where_final, out_lanes}),
      .in_ready_o(),
      .out_valid_o(wr_valid_o),
      .out_data_o({out_where, out_data}),
      .out_ready_i(wr_ready_i),
      .count_o()
  );
  assign wr_addr_o = out_where.addr;
  assign wr_mask_o = out_where.mask;
  for (genvar i = 0; i < 16; i++) begin : gen_out
    assign wr_data_o[i] = out_data[i%Lanes];
  end
  assign wrote = wr_valid_o && wr_ready_i;

  // --- control ---------------------------------------------------------------------------------------------------
  assign op_done = state_q == StFlush && fly_q == 0;
  assign give_valid_o = op_done;
  assign give_mask_o = mop.signal_mask;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StWait;
      fly_q <= '0;
      wait_q <= '0;
      starved_q <= 1'b0;
      turn_q <= '0;
      waits_q <= 1'b0;
      rho_half_q <= 1'b0;
      read_second_q <= 1'b0;
    end else begin
      fly_q <= fly_q + 6'(issue) - 6'(wrote);
      wait_q <= (state_q == StRead && !read_grant) ? (wait_q[3] ? wait_q : wait_q + 4'd1) : 4'd0;
      starved_q <= state_q != StWait && state_q != StFlush && (starved_q || wait_q[3]);
      turn_q <= (!starved_q || turn_q == ($clog2(Turn))'(Turn - 1)) ? '0 : turn_q + 1'b1;
      waits_q <= starved_q && turn_q == '0;
      if (rho_release_o) rho_half_q <= !rho_half_q;
      unique case (state_q)
        StWait: begin
          row_q <= '0;
          token_q <= '0;
          slot_q <= '0;
          elem_q <= strip.base;
          entry_q <= strip_half ? AW'(Entries / 2) : '0;
          dst_q <= mop.dst;
          dst0_q <= mop.dst;
          i1_q <= '0;
          if (open_q != 0 && strip_there) begin
            if (empty) begin
              if (strip.op_last) state_q <= StFlush;
            end else begin
              state_q <= StRead;
            end
          end
        end
        StRead: begin
          row_end_q <= row_q + 10'd1 == strip.rows;
          token_last_q <= token_q + 26'd1 >= tokens;
          slots_here_q <= slots_left < 20'(Vpus) ? 8'(slots_left) : 8'(Vpus);
          if (read_grant) state_q <= StEntry;
        end
        StEntry: begin
          read_second_q <= reads_two && !read_second_q;
          state_q <= reads_two && !read_second_q ? StRead : StCapture;
        end
        StCapture: begin
          scale_q <= scale_mem[{head_q, token_q[SW-1:0]}];
          step_q <= '0;
          elems_left_q <= 16'(slots_here_q) << LogC;
          elem_now_q <= elem_q;
          state_q <= StStep;
        end
        StStep:
        if (issue) begin
          step_q <= step_q + 16'd1;
          elems_left_q <= elems_left_q - 16'(Lanes);
          elem_now_q <= elem_now_q + 32'(Lanes);
          if (step_last) begin
            state_q <= StRead;
            token_q <= token_q + 26'd1;
            // the b lane of a pair lies in the same entry
            if (mop.dual || token_q[0]) entry_q <= entry_q + AW'(strip.stride);
            if (i1_q + 10'd1 < mop.n1) begin
              i1_q  <= i1_q + 10'd1;
              dst_q <= dst_q + mop.dst_s1;
            end else begin
              i1_q   <= '0;
              dst_q  <= dst0_q + mop.dst_s0;
              dst0_q <= dst0_q + mop.dst_s0;
            end
            if (token_last_q) begin
              token_q <= '0;
              i1_q <= '0;
              dst_q <= mop.dst;
              dst0_q <= mop.dst;
              row_q <= row_q + 10'd1;
              entry_q <= (strip_half ? AW'(Entries / 2) : AW'(0)) + AW'(row_q) + AW'(1);
              slot_q <= slot_q + 20'(Vpus);
              elem_q <= elem_q + 32'(Flat);
              if (row_end_q) state_q <= strip.op_last ? StFlush : StWait;
            end
          end
        end
        StFlush: if (fly_q == 0) state_q <= StWait;
        default: state_q <= StWait;
      endcase
    end
  end

  logic unused;
  assign unused = &{
      1'b0, y_valid, final_valid, where_final.accumulate, where_final.place, out_where.accumulate, out_where.place,
      scale_index_i, 1'b0
  };
endmodule
