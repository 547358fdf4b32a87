// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Execute stage of the matrix unit: takes an instruction's tokens, reads the scales of its activation rows, then turns
// tiles into beats: for each token pair, for each run (once, or for each side of the chains), for each window. Controls for
// the MPUs come out at the cycle in which they are needed (docs/rtl.md, "Matrix unit"): a beat issued in cycle t has its
// codes in cycle t + 2, its taps in t + 7, 9, 11 and 13, and its scale operations from u = t + 14 on.

module matrix_execute #(
    parameter int unsigned Entries = 512,  // accumulators of a VPU for one lane
    parameter int unsigned ChainVpus = 1,
    localparam int unsigned OpAddrBits = $clog2(ChainVpus * Entries)
) (
    input logic clk_i,
    input logic rst_ni,
    // instructions and tiles from fetch
    input logic mop_valid_i,
    input matrix_pkg::mop_t mop_i,
    output logic mop_ready_o,
    output logic taken_o,
    input logic tile_valid_i,
    input matrix_pkg::tile_t tile_i,
    output logic tile_ready_o,
    input logic beat_done_i,  // one more beat stands in the replay buffer
    output logic beats_release_o,
    output logic [4:0] beats_count_o,
    output logic row_release_o,
    // tokens
    output logic take_valid_o,
    output logic [3:0] take_mask_o,
    input logic take_ready_i,
    // activation buffer; data two cycles after the address
    output logic ab_valid_o,
    output logic [19:0] ab_a_addr_o,
    output logic [19:0] ab_b_addr_o,
    input logic [127:0] ab_a_data_i,
    input logic [127:0] ab_b_data_i,
    // to the drain: instruction, scales of its rows, finished strips
    output logic start_o,  // mop_o begins
    output matrix_pkg::mop_t mop_o,
    output logic [25:0] tokens_o,
    input logic start_ready_i,  // the drain has room for one more instruction
    output logic scale_we_o,
    output logic [15:0] scale_index_o,
    output logic [31:0] scale_data_o,
    output logic strip_valid_o,
    output matrix_pkg::strip_t strip_o,
    output logic strip_half_o,
    input logic strip_release_i,  // the drain has read a strip
    input logic drain_waits_i,  // the drain has waited long for a read
    // to the MPUs
    output logic ce_o,
    output logic beat_valid_o,
    output logic [3:0] beat_o,
    output logic beat1_valid_o,
    output logic [2:0] beat1_width_o,
    output logic beat1_sparse_o,
    output logic beat1_side_o,
    output logic [7:0][15:0][7:0] win_a_o,
    output logic [7:0][15:0][7:0] win_b_o,
    output logic [7:0][1:0] mode_o,
    output logic [7:0] side_o,
    output logic [7:0] packed_o,
    output logic [3:0] tap_valid_o,  // [node % 4]
    output logic [3:0] tap_last_o,
    output logic [3:0] tap_clear_o,
    output logic [5:0] scale_o,
    output logic unit_scale_o,
    output logic [1:0] sigma_side_o,
    output logic mu_side_o,
    output logic [1:0] op_n_index_o,
    output logic [2:0] op_node_o,
    output logic signed [17:0] group_sum_o,
    output logic op1_valid_o,
    output logic op1_affine_o,
    output logic op1_lane_o,
    output logic op1_first_o,
    output logic [ChainVpus-1:0][OpAddrBits-1:0] op1_addr_o,  // [lane]
    output logic op2_valid_o,
    output logic idle_o
);
  import matrix_pkg::*;
  localparam int unsigned AW = $clog2(Entries);

  typedef enum logic [2:0] {
    StIdle,
    StTake,
    StScales,
    StRun
  } state_e;
  state_e state_q;

  // A row of activations: address of its header window, and where the loop over (i0, i1) stands.
  typedef struct packed {
    logic [19:0] row;
    logic [19:0] base0;
    logic [9:0]  i1;
  } place_t;

  mop_t mop_q;
  logic [25:0] tokens_q;  // rows: n0 * n1
  place_t place_q, second;
  logic [25:0] token_q;  // number of the row at place_q, while scales are read
  logic scales_last_q;  // it is the last
  // Rows from place_q on, while beats are issued; what follows from their number is known a pair ahead.
  logic [25:0] left_q;
  logic pair_last_q, two_lanes_q, no_pairs_q;

  function automatic place_t next_place(place_t p, mop_t m);
    place_t n;
    if (p.i1 + 10'd1 < m.n1) begin
      n.row = p.row + m.ab_s1;
      n.base0 = p.base0;
      n.i1 = p.i1 + 10'd1;
    end else begin
      n.row = p.base0 + m.ab_s0;
      n.base0 = p.base0 + m.ab_s0;
      n.i1 = '0;
    end
    return n;
  endfunction
  function automatic place_t origin(mop_t m);
    return '{row: m.ab, base0: m.ab, i1: '0};
  endfunction
  assign second = next_place(place_q, mop_q);

  // --- issue -----------------------------------------------------------------------------------------------------
  typedef struct packed {
    logic       valid;
    logic       first;
    logic       last;
    logic       b_valid;
    logic       in_pack;     // both sides at once
    logic       side;
    logic [1:0] n_index;
    logic [2:0] width;
  } beat_t;
  typedef struct packed {
    logic          unit_scale;
    logic          affine;
    logic [1:0]    n_index;
    logic          both;        // two lanes
    logic          in_pack;
    logic          side;
    logic          dual;
    logic [5:0]    scale;
    logic          overwrite;
    logic [AW-1:0] entry;
    logic          free_row;    // last run of a tile that uses up a scale row
    logic          strip_end;   // last run of the last tile of a strip
    strip_t        strip;
    logic          half;
  } op_t;

  logic [4:0] window_q, avail_q;
  logic first_window_q, last_window_q;  // window_q is 0; it is the last, if it is not 0
  logic [3:0] ops_left_q;  // operations of the last run still to come before the next run may end
  logic [3:0] read_beat_q;
  logic [AW-1:0] pair_entry_q;
  logic [1:0] strips_open_q;
  logic in_strip_q, half_q;
  logic issue, window_last, tile_done, strip_ok, skip_q, one_pair;
  logic side_q;  // which VPUs of the chains this run is for
  logic in_pack, run_last;  // this run is for both; it is the last of its pair
  logic [3:0] need;
  logic [5:0] alive_q;  // cycles until the last beat issued has left the array

  assign window_last = first_window_q ? tile_i.nw == 5'd1 : last_window_q;
  assign in_pack = ChainVpus == 2 && !two_lanes_q && tile_i.n_index == NDense;
  assign run_last = ChainVpus == 1 || in_pack || side_q || tile_i.side0_only;
  assign one_pair = mop_q.dual ? tokens_q <= 26'd1 : tokens_q <= 26'd2;
  assign strip_ok = in_strip_q || strips_open_q != 2'd2;
  assign need = tile_i.affine ? (two_lanes_q || in_pack ? 4'd2 : 4'd1) : 4'd1 << tile_i.n_index;
  assign issue = state_q == StRun && tile_valid_i && !tile_i.strip.empty && !no_pairs_q && strip_ok &&
      (!window_last || ops_left_q == 0) && avail_q > window_q && !drain_waits_i;
  // Nothing to compute: the tile is only taken off, when no strip before it is under way. In a register: what allows it
  // stays so until the tile is taken off.
  always_ff @(posedge clk_i) begin
    skip_q <= rst_ni && !skip_q && state_q == StRun && tile_valid_i && strip_ok && alive_q == 0 &&
        (tile_i.strip.empty || (no_pairs_q && avail_q >= tile_i.nw));
    assert (!rst_ni || !tile_valid_i || (tile_i.nw == 0) == tile_i.strip.empty)
    else $error("matrix_execute: an empty strip has one tile, without windows");
  end
  assign tile_done = (issue && window_last && run_last && pair_last_q) || skip_q;
  assign tile_ready_o = tile_done;
  // tile_done comes late: it only selects
  logic [4:0] avail_more, avail_less;
  assign avail_more = avail_q + 5'(beat_done_i);
  assign avail_less = avail_more - tile_i.nw;
  assign beats_release_o = tile_done;
  assign beats_count_o = tile_i.nw;

  logic [19:0] window_addr;
  assign window_addr = tile_i.window + 20'(window_q);
  assign ab_valid_o = issue || state_q == StScales;
  // Two VPUs in a chain: in side 1 the tokens change lanes; a lone token has both.
  logic [19:0] a_row, b_row;
  assign a_row = (ChainVpus == 2 && side_q && two_lanes_q && !mop_q.dual) ? second.row : place_q.row;
  assign b_row = (ChainVpus == 2 && (side_q || !two_lanes_q)) ? place_q.row : second.row;
  assign ab_a_addr_o = state_q == StScales ? place_q.row :
      a_row + 20'd1 + (mop_q.dual ? window_addr << 1 : window_addr);
  assign ab_b_addr_o = mop_q.dual ? place_q.row + 20'd2 + (window_addr << 1) : b_row + 20'd1 + window_addr;
  assign beat_valid_o = issue;
  assign beat_o = read_beat_q + window_q[3:0];

  // --- controls behind the issue ---------------------------------------------------------------------------------
  localparam int unsigned TapStage = 13;
  beat_t beat_q[TapStage+1];  // [k]: cycle t + k, k >= 1
  op_t op_q[TapStage+1];
  op_t new_op;
  beat_t new_beat;
  always_comb begin
    new_beat = '{
        valid: issue,
        first: window_q == 0,
        last: window_last,
        b_valid: two_lanes_q || in_pack || side_q,
        in_pack: in_pack,
        side: side_q,
        n_index: tile_i.n_index,
        width: tile_i.width
    };
    new_op = '{
        unit_scale: tile_i.unit_scale,
        affine: tile_i.affine,
        n_index: tile_i.n_index,
        both: two_lanes_q || in_pack,
        in_pack: in_pack,
        side: side_q,
        dual: mop_q.dual,
        scale: tile_i.scale,
        overwrite: tile_i.first,
        entry: pair_entry_q + AW'(tile_i.row) + (half_q ? AW'(Entries / 2) : AW'(0)),
        free_row: tile_i.free_row && pair_last_q && run_last && !tile_i.unit_scale,
        strip_end: tile_i.last && pair_last_q && run_last,
        strip: tile_i.strip,
        half: half_q
    };
  end
  always_ff @(posedge clk_i) begin
    beat_q[1] <= new_beat;
    for (int k = 2; k <= TapStage; k++) beat_q[k] <= beat_q[k-1];
    if (!rst_ni) for (int k = 1; k <= TapStage; k++) beat_q[k].valid <= 1'b0;
    if (ce_o) begin
      op_q[1] <= new_op;
      for (int k = 2; k <= TapStage; k++) op_q[k] <= op_q[k-1];
    end
  end
  assign beat1_valid_o  = beat_q[1].valid;
  assign beat1_width_o  = beat_q[1].width;
  assign beat1_sparse_o = beat_q[1].n_index != NDense;
  assign beat1_side_o = beat_q[1].side;
  for (genvar k = 0; k < 4; k++) begin : gen_tap
    assign tap_valid_o[k] = beat_q[7+2*k].valid;
    assign tap_last_o[k]  = beat_q[7+2*k].last;
    assign tap_clear_o[k] = beat_q[6+2*k].valid && beat_q[6+2*k].first;
  end
  for (genvar i = 0; i < 8; i++) begin : gen_mode
    assign mode_o[i]   = beat_q[i+5].n_index;
    assign side_o[i]   = beat_q[i+2].side;
    assign packed_o[i] = beat_q[i+2].in_pack;
  end

  // windows, delayed by the position in the cascade
  logic [127:0] win_a_q[8];
  logic [127:0] win_b_q[8];
  logic [127:0] win_b_now;
  assign win_b_now  = beat_q[2].b_valid ? ab_b_data_i : 128'd0;
  assign win_a_o[0] = ab_a_data_i;
  assign win_b_o[0] = win_b_now;
  always_ff @(posedge clk_i) begin
    if (ce_o) begin
      win_a_q[1] <= ab_a_data_i;
      win_b_q[1] <= win_b_now;
      for (int i = 2; i < 8; i++) begin
        win_a_q[i] <= win_a_q[i-1];
        win_b_q[i] <= win_b_q[i-1];
      end
    end
  end
  for (genvar i = 1; i < 8; i++) begin : gen_win
    assign win_a_o[i] = win_a_q[i];
    assign win_b_o[i] = win_b_q[i];
  end

  // sums of the activations of a tile (of b only where there is one): of four codes in t + 3, of the window in t + 4,
  // running sum in t + 5, at the operation in t + 14
  typedef logic [3:0][9:0] fours_t;
  fours_t fours_a_q, fours_b_q;
  logic signed [11:0] wsum_a_q, wsum_b_q;
  logic signed [17:0] gsum_a_q[10];
  logic signed [17:0] gsum_b_q[10];
  logic signed [17:0] gsum_b_held_q;
  function automatic fours_t sums_of_four(logic [127:0] w);
    for (int f = 0; f < 4; f++) begin
      sums_of_four[f] = 10'(signed'(w[32*f+:8])) + 10'(signed'(w[32*f+8+:8])) + 10'(signed'(w[32*f+16+:8])) +
          10'(signed'(w[32*f+24+:8]));
    end
  endfunction
  function automatic logic signed [11:0] window_sum(fours_t f);
    return 12'(signed'(f[0])) + 12'(signed'(f[1])) + 12'(signed'(f[2])) + 12'(signed'(f[3]));
  endfunction
  always_ff @(posedge clk_i) begin
    if (ce_o) begin
      if (beat_q[2].valid) begin
        fours_a_q <= sums_of_four(ab_a_data_i);
        fours_b_q <= sums_of_four(ab_b_data_i);
      end
      if (beat_q[3].valid) begin
        wsum_a_q <= window_sum(fours_a_q);
        wsum_b_q <= window_sum(fours_b_q);
      end
      if (beat_q[4].valid) begin
        gsum_a_q[0] <= (beat_q[4].first ? 18'sd0 : gsum_a_q[0]) + 18'(wsum_a_q);
        gsum_b_q[0] <= (beat_q[4].first ? 18'sd0 : gsum_b_q[0]) + 18'(wsum_b_q);
      end
      for (int i = 1; i < 10; i++) begin
        gsum_a_q[i] <= gsum_a_q[i-1];
        gsum_b_q[i] <= gsum_b_q[i-1];
      end
      gsum_b_held_q <= gsum_b_q[9];
    end
  end

  // --- scale operations: u - 1 is the tap stage of the last window -----------------------------------------------
  typedef struct packed {
    logic       valid;
    logic [2:0] index;
    op_t        op;
    logic       done;   // last operation of the run
  } step_t;
  step_t now, step_q[5];  // [k]: cycle u + k
  op_t held_q;
  logic [2:0] index_q;
  logic more_q;
  logic [2:0] top;
  always_comb begin
    now       = '0;
    now.valid = more_q || (beat_q[13].valid && beat_q[13].last);
    now.op    = more_q ? held_q : op_q[13];
    now.index = more_q ? index_q : 3'd0;
    top       = now.op.affine ? (now.op.both ? 3'd1 : 3'd0) : 3'((4'd1 << now.op.n_index) - 4'd1);
    now.done  = now.index == top;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      more_q <= 1'b0;
      for (int k = 0; k < 5; k++) step_q[k].valid <= 1'b0;
    end else begin
      more_q <= now.valid && !now.done;
      step_q[0] <= now;
      for (int k = 1; k < 5; k++) step_q[k] <= step_q[k-1];
    end
    index_q <= now.index + 3'd1;
    held_q  <= now.op;
  end
  assign scale_o = now.op.scale + (now.op.affine ? 6'd0 : 6'(now.index));
  assign unit_scale_o = now.op.unit_scale;
  assign sigma_side_o = {now.op.side || now.op.in_pack, now.op.side};
  assign mu_side_o = now.op.side || (now.op.in_pack && now.index[0]);
  assign op_n_index_o = step_q[0].op.n_index;
  assign op_node_o = step_q[0].op.affine ? 3'd0 : step_q[0].index;
  assign group_sum_o = step_q[0].index[0] ? gsum_b_held_q : gsum_a_q[9];
  assign op1_valid_o = step_q[1].valid;
  assign op1_affine_o = step_q[1].op.affine;
  assign op1_lane_o = step_q[1].index[0];
  assign op1_first_o = step_q[1].op.overwrite;
  logic [AW-1:0] op1_entry;
  assign op1_entry = step_q[1].op.entry + (step_q[1].op.affine ? AW'(0) : AW'(step_q[1].index));
  if (ChainVpus == 1) begin : gen_own_entry
    assign op1_addr_o = op1_entry;
  end else begin : gen_shared_entry
    // above the entry: the token lane that the chain's lane has, or the side of a dual token
    logic side, split;
    assign side = step_q[1].op.side;
    assign split = !step_q[1].op.in_pack && !step_q[1].op.dual;
    assign op1_addr_o = {{side ^ split, op1_entry}, {side, op1_entry}};
  end
  assign op2_valid_o = step_q[2].valid;
  assign row_release_o = (step_q[0].valid && step_q[0].done && step_q[0].op.free_row) ||
      (skip_q && tile_i.free_row && !tile_i.strip.empty && !tile_i.unit_scale);

  // a strip is complete when its last operation has been written
  logic skip_end;
  assign skip_end = skip_q && tile_i.last;
  logic   skip_end_q;
  strip_t skip_strip_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      strip_valid_o <= 1'b0;
      skip_end_q <= 1'b0;
    end else begin
      skip_end_q <= skip_end;
      strip_valid_o <= (step_q[4].valid && step_q[4].done && step_q[4].op.strip_end) || skip_end_q;
    end
    skip_strip_q <= tile_i.strip;
    strip_o <= skip_end_q ? skip_strip_q : step_q[4].op.strip;
    strip_half_o <= skip_end_q ? 1'b0 : step_q[4].op.half;
  end

  // --- control ---------------------------------------------------------------------------------------------------
  assign ce_o         = issue || alive_q != 0;
  assign take_valid_o = state_q == StTake && start_ready_i;
  assign take_mask_o  = mop_q.wait_mask;
  assign taken_o      = take_valid_o && take_ready_i;
  assign mop_ready_o  = state_q == StIdle;
  assign start_o      = taken_o;
  assign mop_o        = mop_q;
  assign tokens_o     = tokens_q;
  assign idle_o       = state_q == StIdle && !mop_valid_i && alive_q == 0 && !strip_valid_o && !skip_end_q;

  // header windows come two cycles after their address
  logic [ 1:0] header_q;
  logic [15:0] header_index_q[2];
  assign scale_we_o    = header_q[1];
  assign scale_index_o = header_index_q[1];
  assign scale_data_o  = ab_a_data_i[31:0];

  always_ff @(posedge clk_i) begin
    header_index_q[0] <= 16'(token_q);
    header_index_q[1] <= header_index_q[0];
    if (!rst_ni) begin
      state_q <= StIdle;
      header_q <= '0;
      alive_q <= '0;
      avail_q <= '0;
      ops_left_q <= '0;
      read_beat_q <= '0;
      strips_open_q <= '0;
      in_strip_q <= 1'b0;
      half_q <= 1'b0;
      window_q <= '0;
      first_window_q <= 1'b1;
      side_q <= 1'b0;
    end else begin
      header_q <= {header_q[0], state_q == StScales};
      alive_q <= issue ? 6'd40 : alive_q == 0 ? 6'd0 : alive_q - 6'd1;
      avail_q <= tile_done ? avail_less : avail_more;
      // the operations of a run begin a fixed time after its last window: runs' last windows keep that distance
      ops_left_q <= (issue && window_last) ? need - 4'd1 : ops_left_q == 0 ? 4'd0 : ops_left_q - 4'd1;
      strips_open_q <= strips_open_q + 2'((issue || skip_q) && !in_strip_q) - 2'(strip_release_i);
      if (issue || skip_q) in_strip_q <= !(tile_done && tile_i.last);
      if (tile_done && tile_i.last && !skip_q) half_q <= !half_q;
      unique case (state_q)
        StIdle:
        if (mop_valid_i) begin
          mop_q <= mop_i;
          tokens_q <= 26'(mop_i.n0) * 26'(mop_i.n1);
          state_q <= StTake;
        end
        StTake: begin
          place_q <= origin(mop_q);
          token_q <= '0;
          scales_last_q <= tokens_q == 26'd1;
          left_q <= tokens_q;
          no_pairs_q <= tokens_q == 0;
          pair_last_q <= one_pair;
          two_lanes_q <= mop_q.dual || tokens_q > 26'd1;
          if (taken_o) state_q <= tokens_q == 0 ? StRun : StScales;
        end
        StScales: begin
          token_q <= token_q + 26'd1;
          scales_last_q <= token_q + 26'd2 == tokens_q;
          place_q <= second;
          if (scales_last_q) begin
            token_q <= '0;
            place_q <= origin(mop_q);
            state_q <= StRun;
          end
        end
        StRun: begin
          if (issue) begin
            window_q <= window_last ? 5'd0 : window_q + 5'd1;
            first_window_q <= window_last;
            last_window_q <= window_q + 5'd2 == tile_i.nw;
          end
          // Next pair, or the first one for the next tile. A tile that is skipped has issued none.
          if (issue && window_last) side_q <= !run_last;
          if (issue && window_last && run_last) begin
            left_q <= pair_last_q ? tokens_q : mop_q.dual ? left_q - 26'd1 : left_q - 26'd2;
            pair_last_q <= pair_last_q ? one_pair : mop_q.dual ? left_q <= 26'd2 : left_q <= 26'd4;
            two_lanes_q <= mop_q.dual || (pair_last_q ? tokens_q > 26'd1 : left_q > 26'd3);
            place_q <= pair_last_q ? origin(mop_q) : mop_q.dual ? second : next_place(second, mop_q);
            pair_entry_q <= pair_last_q ? '0 : pair_entry_q + AW'(tile_i.strip.stride);
          end
          if (tile_done) begin
            read_beat_q <= read_beat_q + tile_i.nw[3:0];
            if (tile_i.last && tile_i.strip.op_last) state_q <= StIdle;
          end
        end
        default: state_q <= StIdle;
      endcase
      if (state_q == StTake) pair_entry_q <= '0;
    end
  end

endmodule
