// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Front end of the matrix unit: walks weight and KV streams, one pop a cycle, and hands tiles to the execute stage
// (docs/rtl.md, "Matrix unit"; docs/streams.md). Lengths follow from the instruction and the format bytes alone, so all
// channels pop the same. It works on the next instruction while execute and drain finish the last.
//
// Three stages, each ahead of the next: fetch_plan works out lengths, fetch_walk counts them down, fetch_pop pops.

module matrix_fetch #(
    parameter int unsigned Vpus     = 8,
    parameter int unsigned Channels = 4,
    parameter int unsigned LevelAge = 2
) (
    input logic clk_i,
    input logic rst_ni,
    // instruction queue
    input logic op_valid_i,
    input flightllm_isa_pkg::dispatch_t op_i,
    output logic op_ready_o,
    // to execute: the instruction, then its tiles
    output logic mop_valid_o,
    output matrix_pkg::mop_t mop_o,
    input logic mop_ready_i,
    input logic taken_i,
    output logic tile_valid_o,
    output matrix_pkg::tile_t tile_o,
    input logic tile_ready_i,
    input logic beats_release_i,  // the beats of a tile (count beside it) are free again
    input logic [4:0] beats_count_i,
    input logic row_release_i,  // a scale row is free again
    input logic rho_release_i,  // a strip's rho and bias are free again
    // rings: levels up to 63 words, the least over all channels, LevelAge cycles old
    input logic [5:0] w_level_i,
    input logic [5:0] k_level_i,
    output logic [4:0] w_pop_o,
    output logic [4:0] k_pop_o,
    output logic [3:0] k_place_o,  // with k_pop_o: place of its first word among 16
    output matrix_pkg::pop_t pop_o,
    input logic table_valid_i,  // popped format bytes of channel 0
    input logic [63:0] table_data_i,
    // mask buffer
    output logic [15:0] mb_addr_o,
    input logic [7:0] mb_data_i,  // two cycles after the address
    output logic idle_o
);
  import flightllm_isa_pkg::*;
  import matrix_pkg::*;

  // --- the instruction, for execute ------------------------------------------------------------------------------
  mm_op_t   mm;
  mmqk_op_t qk;
  assign mm = mm_op(op_i);
  assign qk = mmqk_op(op_i);

  function automatic logic [15:0] count16(logic signed [31:0] x);
    return x < 0 ? 16'd0 : x > 32'sd65535 ? 16'hffff : x[15:0];
  endfunction
  always_comb begin
    mop_o = '0;
    unique case (op_i.inst[5:0])
      OpMm: begin
        mop_o.kind = KindMm;
        mop_o.dual = mm.dual;
        mop_o.accumulate = mm.accumulate;
        mop_o.bias = mm.bias;
        mop_o.n0 = count16(mm.tokens);
        mop_o.n1 = 10'd1;
        mop_o.ab = mm.ab;
        mop_o.ab_s0 = mm.ab_row;
        mop_o.dst = mm.dst;
        mop_o.dst_s0 = mm.dst_row;
      end
      default: begin  // MMQK and MMPV begin with the same fields
        mop_o.kind = op_i.inst[5:0] == OpMmqk ? KindQk : KindPv;
        mop_o.dual = qk.dual;
        mop_o.n0 = count16(qk.n0);
        mop_o.n1 = qk.n1;
        mop_o.ab = qk.ab;
        mop_o.ab_s0 = qk.ab_s0;
        mop_o.ab_s1 = qk.ab_s1;
        mop_o.dst = qk.dst;
        mop_o.dst_s0 = qk.dst_s0;
        mop_o.dst_s1 = qk.dst_s1;
      end
    endcase
    mop_o.wait_mask   = op_i.inst[9:6];
    mop_o.signal_mask = op_i.inst[13:10];
  end

  logic plan_ready, plan_idle, pop_idle, walk_idle;
  assign op_ready_o  = plan_ready && mop_ready_i;
  assign mop_valid_o = plan_ready && op_valid_i;
  assign idle_o      = plan_idle && walk_idle && pop_idle && !op_valid_i;

  // --- stages ----------------------------------------------------------------------------------------------------
  logic item_valid, item_ready, section_valid, section_ready;
  item_t item;
  section_t section;
  assign walk_idle = !section_valid;

  fetch_plan #(
      .Vpus    (Vpus),
      .Channels(Channels)
  ) i_plan (
      .clk_i,
      .rst_ni,
      .op_valid_i  (op_valid_i && mop_ready_i),
      .op_i,
      .op_ready_o  (plan_ready),
      .taken_i,
      .item_valid_o(item_valid),
      .item_o      (item),
      .item_ready_i(item_ready),
      .table_valid_i,
      .table_data_i,
      .mb_addr_o,
      .mb_data_i,
      .idle_o      (plan_idle)
  );
  fetch_walk #(
      .Vpus    (Vpus),
      .Channels(Channels)
  ) i_walk (
      .clk_i,
      .rst_ni,
      .item_valid_i   (item_valid),
      .item_i         (item),
      .item_ready_o   (item_ready),
      .section_valid_o(section_valid),
      .section_o      (section),
      .section_ready_i(section_ready)
  );
  fetch_pop #(
      .LevelAge(LevelAge)
  ) i_pop (
      .clk_i,
      .rst_ni,
      .section_valid_i(section_valid),
      .section_i      (section),
      .section_ready_o(section_ready),
      .w_level_i,
      .k_level_i,
      .w_pop_o,
      .k_pop_o,
      .k_place_o,
      .pop_o,
      .tile_valid_o,
      .tile_o,
      .tile_ready_i,
      .beats_release_i,
      .beats_count_i,
      .row_release_i,
      .rho_release_i,
      .idle_o         (pop_idle)
  );
endmodule
