// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Unit M: MM, MMQK and MMPV (docs/rtl.md, "Matrix unit"). Three stages, each on its own instruction if need be: fetch
// walks the streams of the rings, execute drives the array, drain writes the results. One MPU per channel, all in lock
// step.

module matrix_unit #(
    parameter int unsigned Vpus      = 8,
    parameter int unsigned ChainVpus = 1,
    parameter int unsigned Channels  = 4,
    parameter int unsigned Entries   = 512
) (
    input logic clk_i,
    input logic rst_ni,
    input logic op_valid_i,
    input flightllm_isa_pkg::dispatch_t op_i,
    output logic op_ready_o,
    output logic take_valid_o,
    output logic [3:0] take_mask_o,
    input logic take_ready_i,
    output logic give_valid_o,
    output logic [3:0] give_mask_o,
    output logic idle_o,
    output logic beat_o,  // the array does a beat (performance counter)
    output logic wait_data_o,  // a tile waits for codes (performance counter)
    // rings: words that can be popped now, at most 63; data three cycles after the pop
    input logic [Channels-1:0][5:0] w_level_i,
    output logic [4:0] w_pop_o,
    input logic [Channels-1:0][5:0] k_level_i,
    output logic [4:0] k_pop_o,
    input logic [Channels-1:0][15:0][63:0] data_i,  // of the ring that was popped
    // activation buffer
    output logic ab_valid_o,
    output logic [19:0] ab_a_addr_o,
    output logic [19:0] ab_b_addr_o,
    input logic [127:0] ab_a_data_i,
    input logic [127:0] ab_b_data_i,
    // mask buffer
    output logic [15:0] mb_addr_o,
    input logic [7:0] mb_data_i,
    // vector buffer
    output logic rd_valid_o,
    output logic [19:0] rd_addr_o,
    input logic rd_ready_i,
    input logic rd_rvalid_i,
    input logic [15:0][31:0] rd_rdata_i,
    output logic wr_valid_o,
    output logic [19:0] wr_addr_o,
    output logic [15:0][31:0] wr_data_o,
    output logic [15:0] wr_mask_o,
    input logic wr_ready_i
);
  import matrix_pkg::*;
  localparam int unsigned BankAW = $clog2(ChainVpus * Entries);
  localparam int unsigned PopLatency = 3;
  localparam int unsigned KeySlots = flightllm_isa_pkg::key_slots(Channels);

  // --- fetch -----------------------------------------------------------------------------------------------------
  // The least level of all channels, in steps of a cycle each: of every two, of up to four of those, of all. A level takes
  // long to come from its ring. Up to eight channels need two steps.
  localparam int unsigned LevelAge = Channels > 8 ? 3 : 2;
  localparam int unsigned Twos = (Channels + 1) / 2;
  localparam int unsigned Eights = (Channels + 7) / 8;
  logic [Twos-1:0][5:0] w_twos_q, k_twos_q;
  logic [Eights-1:0][5:0] w_eights_q, k_eights_q;
  logic [5:0] w_level, k_level;
  function automatic logic [5:0] least(logic [5:0] a, logic [5:0] b);
    return a < b ? a : b;
  endfunction
  // all are compared at once: two of `least` behind each other take longer
  function automatic logic [5:0] least_of_four(logic [3:0][5:0] x);
    logic [3:0] found;
    least_of_four = '0;
    for (int i = 0; i < 4; i++) begin
      found[i] = 1'b1;
      for (int j = 0; j < i; j++) found[i] &= x[i] < x[j];
      for (int j = i + 1; j < 4; j++) found[i] &= x[i] <= x[j];
      least_of_four |= found[i] ? x[i] : 6'd0;
    end
  endfunction
  function automatic logic [Eights-1:0][5:0] least_of_twos(logic [Twos-1:0][5:0] x);
    for (int e = 0; e < Eights; e++) begin
      automatic logic [3:0][5:0] y = '1;
      for (int i = 0; i < 4; i++) if (4 * e + i < Twos) y[i] = x[4*e+i];
      least_of_twos[e] = least_of_four(y);
    end
  endfunction
  always_ff @(posedge clk_i) begin
    for (int t = 0; t < Twos; t++) begin
      w_twos_q[t] <= least(w_level_i[2*t], w_level_i[(2*t+1)%Channels]);
      k_twos_q[t] <= least(k_level_i[2*t], k_level_i[(2*t+1)%Channels]);
    end
    w_eights_q <= least_of_twos(w_twos_q);
    k_eights_q <= least_of_twos(k_twos_q);
  end
  if (Eights == 1) begin : gen_two_steps
    assign w_level = w_eights_q[0];
    assign k_level = k_eights_q[0];
  end else begin : gen_three_steps
    logic [5:0] w_level_q, k_level_q;
    function automatic logic [5:0] least_of_eights(logic [Eights-1:0][5:0] x);
      logic [3:0][5:0] y;
      y = '1;
      for (int i = 0; i < Eights; i++) y[i] = x[i];
      return least_of_four(y);
    endfunction
    always_ff @(posedge clk_i) begin
      w_level_q <= least_of_eights(w_eights_q);
      k_level_q <= least_of_eights(k_eights_q);
    end
    assign w_level = w_level_q;
    assign k_level = k_level_q;
  end

  mop_t fetch_mop, mop;
  logic fetch_mop_valid, fetch_mop_ready, mop_valid, mop_ready, taken;
  tile_t fetch_tile, next_tile, tile;
  logic next_valid, tile_load;
  logic fetch_tile_valid, fetch_tile_ready, tile_valid, tile_ready;
  logic beats_release, row_release, rho_release, fetch_idle;
  logic [4:0] beats_count;
  pop_t pop, pop_q[PopLatency+1];
  // which words the MPUs see: those of the pop; the words of KeySlots lanes, repeated
  typedef enum logic [1:0] {
    SeeAll,
    SeeKeys8,
    SeeKeys4
  } see_e;
  see_e see_q[PopLatency+1];

  matrix_fetch #(
      .Vpus    (Vpus),
      .Channels(Channels),
      .LevelAge(LevelAge)
  ) i_fetch (
      .clk_i,
      .rst_ni,
      .op_valid_i,
      .op_i,
      .op_ready_o,
      .mop_valid_o    (fetch_mop_valid),
      .mop_o          (fetch_mop),
      .mop_ready_i    (fetch_mop_ready),
      .taken_i        (taken),
      .tile_valid_o   (fetch_tile_valid),
      .tile_o         (fetch_tile),
      .tile_ready_i   (fetch_tile_ready),
      .beats_release_i(beats_release),
      .beats_count_i  (beats_count),
      .row_release_i  (row_release),
      .rho_release_i  (rho_release),
      .w_level_i      (w_level),
      .k_level_i      (k_level),
      .w_pop_o,
      .k_pop_o,
      .pop_o          (pop),
      .table_valid_i  (pop_q[PopLatency].valid && pop_q[PopLatency].dest == DestTable),
      .table_data_i   (data_i[0][0]),
      .mb_addr_o,
      .mb_data_i,
      .idle_o         (fetch_idle)
  );
  fifo #(
      .Width($bits(mop_t)),
      .Depth(2)
  ) i_mops (
      .clk_i,
      .rst_ni,
      .in_valid_i(fetch_mop_valid && op_valid_i && op_ready_o),
      .in_data_i(fetch_mop),
      .in_ready_o(fetch_mop_ready),
      .out_valid_o(mop_valid),
      .out_data_o(mop),
      .out_ready_i(mop_ready),
      .count_o()
  );
  fifo #(
      .Width($bits(tile_t)),
      .Depth(16)
  ) i_tiles (
      .clk_i,
      .rst_ni,
      .in_valid_i(fetch_tile_valid && fetch_tile_ready),
      .in_data_i(fetch_tile),
      .in_ready_o(fetch_tile_ready),
      .out_valid_o(next_valid),
      .out_data_o(next_tile),
      .out_ready_i(tile_load),
      .count_o()
  );
  // The tile that execute works on stands in a register: most of what execute decides begins with it.
  assign tile_load = !tile_valid || tile_ready;
  always_ff @(posedge clk_i) begin
    if (tile_load) tile <= next_tile;
    if (!rst_ni) tile_valid <= 1'b0;
    else if (tile_load) tile_valid <= next_valid;
  end

  // what a pop is for, until its data come
  always_comb begin
    pop_q[0] = pop;
    unique case (pop.dest)
      DestKeys8: see_q[0] = SeeKeys8;
      DestKeys4: see_q[0] = SeeKeys4;
      default:   see_q[0] = SeeAll;
    endcase
  end
  always_ff @(posedge clk_i) begin
    for (int i = 1; i <= PopLatency; i++) begin
      pop_q[i] <= pop_q[i-1];
      see_q[i] <= see_q[i-1];
      if (!rst_ni) pop_q[i].valid <= 1'b0;
    end
    assert (!rst_ni || w_pop_o == 0 || k_pop_o == 0)
    else $error("matrix_unit: both rings popped in one cycle");
  end

  // --- execute ---------------------------------------------------------------------------------------------------
  logic start, start_ready, scale_we, strip_valid, strip_half, strip_release, drain_waits, x_ce, d_ce, x_idle;
  mop_t start_mop;
  logic [25:0] tokens;
  logic [15:0] scale_index;
  logic [31:0] scale_data;
  strip_t strip;
  logic beat_valid, beat1_valid, beat1_sparse, beat1_side, unit_scale, mu_side;
  logic [1:0] sigma_side;
  logic [3:0] tap_valid, tap_last, tap_clear;
  logic [3:0] beat;
  logic [2:0] beat1_width, op_node;
  logic [7:0][15:0][7:0] win_a, win_b;
  logic [7:0][1:0] mode;
  logic [7:0] side, in_pack;
  logic [5:0] scale;
  logic [1:0] op_n_index;
  logic op1_valid, op1_affine, op1_lane, op1_first, op2_valid;
  logic signed [17:0] group_sum;
  logic [ChainVpus-1:0][BankAW-1:0] op1_addr;
  logic [BankAW-1:0] drain_addr;

  matrix_execute #(
      .Entries  (Entries),
      .ChainVpus(ChainVpus)
  ) i_execute (
      .clk_i,
      .rst_ni,
      .mop_valid_i    (mop_valid),
      .mop_i          (mop),
      .mop_ready_o    (mop_ready),
      .taken_o        (taken),
      .tile_valid_i   (tile_valid),
      .tile_i         (tile),
      .tile_ready_o   (tile_ready),
      .beat_done_i    (pop_q[PopLatency].valid && pop_q[PopLatency].done),
      .beats_release_o(beats_release),
      .beats_count_o  (beats_count),
      .row_release_o  (row_release),
      .take_valid_o,
      .take_mask_o,
      .take_ready_i,
      .ab_valid_o,
      .ab_a_addr_o,
      .ab_b_addr_o,
      .ab_a_data_i,
      .ab_b_data_i,
      .start_o        (start),
      .mop_o          (start_mop),
      .tokens_o       (tokens),
      .start_ready_i  (start_ready),
      .scale_we_o     (scale_we),
      .scale_index_o  (scale_index),
      .scale_data_o   (scale_data),
      .strip_valid_o  (strip_valid),
      .strip_o        (strip),
      .strip_half_o   (strip_half),
      .strip_release_i(strip_release),
      .drain_waits_i  (drain_waits),
      .ce_o           (x_ce),
      .beat_valid_o   (beat_valid),
      .beat_o         (beat),
      .beat1_valid_o  (beat1_valid),
      .beat1_width_o  (beat1_width),
      .beat1_sparse_o (beat1_sparse),
      .beat1_side_o   (beat1_side),
      .win_a_o        (win_a),
      .win_b_o        (win_b),
      .mode_o         (mode),
      .side_o         (side),
      .packed_o       (in_pack),
      .tap_valid_o    (tap_valid),
      .tap_last_o     (tap_last),
      .tap_clear_o    (tap_clear),
      .scale_o        (scale),
      .unit_scale_o   (unit_scale),
      .sigma_side_o   (sigma_side),
      .mu_side_o      (mu_side),
      .op_n_index_o   (op_n_index),
      .op_node_o      (op_node),
      .group_sum_o    (group_sum),
      .op1_valid_o    (op1_valid),
      .op1_affine_o   (op1_affine),
      .op1_lane_o     (op1_lane),
      .op1_first_o    (op1_first),
      .op1_addr_o     (op1_addr),
      .op2_valid_o    (op2_valid),
      .idle_o         (x_idle)
  );

  // --- the array -------------------------------------------------------------------------------------------------
  logic capture_dual, capture_lane;
  logic [1:0] capture;
  logic [Channels-1:0][Vpus-1:0][47:0] captured;
  logic [7:0] rho_row;
  logic [Channels-1:0][3:0][31:0] rho, bias;
  for (genvar c = 0; c < Channels; c++) begin : gen_mpu
    logic [15:0][63:0] pop_data;
    always_comb begin
      for (int i = 0; i < 16; i++) begin
        unique case (see_q[PopLatency])
          SeeAll:   pop_data[i] = data_i[c][i];
          SeeKeys8: pop_data[i] = data_i[c][i%(2*KeySlots)];
          default:  pop_data[i] = data_i[c][i%KeySlots];
        endcase
      end
    end
    mpu #(
        .Vpus     (Vpus),
        .ChainVpus(ChainVpus),
        .KeySlots (KeySlots),
        .Entries  (Entries)
    ) i_mpu (
        .clk_i,
        .ce_i          (x_ce || d_ce),
        .pop_i         (pop_q[PopLatency]),
        .pop_data_i    (pop_data),
        .beat_valid_i  (beat_valid),
        .beat_i        (beat),
        .beat1_valid_i (beat1_valid),
        .beat1_width_i (beat1_width),
        .beat1_sparse_i(beat1_sparse),
        .beat1_side_i  (beat1_side),
        .win_a_i       (win_a),
        .win_b_i       (win_b),
        .mode_i        (mode),
        .side_i        (side),
        .packed_i      (in_pack),
        .tap_valid_i   (tap_valid),
        .tap_last_i    (tap_last),
        .tap_clear_i   (tap_clear),
        .scale_i       (scale),
        .unit_scale_i  (unit_scale),
        .sigma_side_i  (sigma_side),
        .mu_side_i     (mu_side),
        .op_n_index_i  (op_n_index),
        .op_node_i     (op_node),
        .group_sum_i   (group_sum),
        .op1_valid_i   (op1_valid),
        .op1_affine_i  (op1_affine),
        .op1_lane_i    (op1_lane),
        .op1_first_i   (op1_first),
        .op1_addr_i    (op1_addr),
        .drain_addr_i  (drain_addr),
        .capture_i     (capture),
        .capture_dual_i(capture_dual),
        .capture_lane_i(capture_lane),
        .capture_o     (captured[c]),
        .rho_row_i     (rho_row),
        .rho_o         (rho[c]),
        .bias_o        (bias[c])
    );
  end

  // --- drain -----------------------------------------------------------------------------------------------------
  logic d_idle;
  matrix_drain #(
      .Vpus     (Vpus),
      .ChainVpus(ChainVpus),
      .Channels (Channels),
      .Entries  (Entries)
  ) i_drain (
      .clk_i,
      .rst_ni,
      .start_i        (start),
      .mop_i          (start_mop),
      .tokens_i       (tokens),
      .start_ready_o  (start_ready),
      .scale_we_i     (scale_we),
      .scale_index_i  (scale_index),
      .scale_data_i   (scale_data),
      .strip_valid_i  (strip_valid),
      .strip_i        (strip),
      .strip_half_i   (strip_half),
      .strip_release_o(strip_release),
      .rho_release_o  (rho_release),
      .waits_o        (drain_waits),
      .ce_o           (d_ce),
      .op2_valid_i    (op2_valid),      // an operation reads in this cycle
      .addr_o         (drain_addr),
      .capture_o      (capture),
      .capture_dual_o (capture_dual),
      .capture_lane_o (capture_lane),
      .captured_i     (captured),
      .rho_row_o      (rho_row),
      .rho_i          (rho),
      .bias_i         (bias),
      .rd_valid_o,
      .rd_addr_o,
      .rd_ready_i,
      .rd_rvalid_i,
      .rd_rdata_i,
      .wr_valid_o,
      .wr_addr_o,
      .wr_data_o,
      .wr_mask_o,
      .wr_ready_i,
      .give_valid_o,
      .give_mask_o,
      .idle_o         (d_idle)
  );

  assign idle_o      = fetch_idle && !mop_valid && !next_valid && !tile_valid && x_idle && d_idle;
  assign beat_o      = beat_valid;
  assign wait_data_o = tile_valid && !beat_valid;
endmodule
