// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Third stage of matrix_fetch: takes sections apart into pops of up to 16 words, and pops as soon as every channel has the words
// and there is room for them. A queue of pops parts the walk from these conditions.
//
// Levels come LevelAge cycles after the rings have them and pops leave a cycle after they are decided, so that the words of the
// last LevelAge + 1 pops are taken off a level. Levels only grow otherwise.

module fetch_pop #(
    parameter int unsigned LevelAge = 2
) (
    input logic clk_i,
    input logic rst_ni,
    input logic section_valid_i,
    input matrix_pkg::section_t section_i,
    output logic section_ready_o,
    input logic [5:0] w_level_i,
    input logic [5:0] k_level_i,
    output logic [4:0] w_pop_o,
    output logic [4:0] k_pop_o,
    output logic [3:0] k_place_o,
    output matrix_pkg::pop_t pop_o,
    output logic tile_valid_o,
    output matrix_pkg::tile_t tile_o,
    input logic tile_ready_i,
    input logic beats_release_i,
    input logic [4:0] beats_count_i,
    input logic row_release_i,
    input logic rho_release_i,
    output logic idle_o
);
  import matrix_pkg::*;

  typedef struct packed {
    logic [4:0] words;
    logic       is_k;
    dest_e      dest;
    logic [7:0] offset;
    logic [7:0] index;
    logic       done;
    logic [4:0] beats;
    logic       row;
    logic       rho;
    logic       tile_start;
    tile_t      tile;
  } piece_t;

  // --- sections to pieces ----------------------------------------------------------------------------------------
  section_t section_q;
  logic valid_q, more_q;  // more_q: more than 16 words are left
  logic [2:0] words_mod_q;  // words popped of the W ring modulo 8; a matrix ends at a multiple
  logic [4:0] words;
  logic push, queue_ready;
  piece_t piece, head;
  logic head_valid, fire;

  always_comb begin
    words = more_q ? 5'd16 : section_q.words[4:0];
    if (section_q.pad) words = 5'(3'(-words_mod_q));
    piece = '{
        words: words,
        is_k: section_q.is_k,
        dest: section_q.dest,
        offset: section_q.offset,
        index: section_q.index,
        done: section_q.done && !more_q,
        beats: section_q.beats,
        row: section_q.row,
        rho: section_q.rho,
        tile_start: section_q.tile_start,
        tile: section_q.tile
    };
  end
  assign push = valid_q && !(section_q.pad && words_mod_q == 3'd0);
  assign section_ready_o = !valid_q || (queue_ready && !more_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      words_mod_q <= '0;
    end
    else begin
      if (section_ready_o) valid_q <= section_valid_i;
      if (push && queue_ready && !section_q.is_k) words_mod_q <= words_mod_q + words[2:0];
    end
    if (section_ready_o) begin
      section_q <= section_i;
      more_q <= section_i.more;
    end
    else if (queue_ready) begin
      section_q.words <= section_q.words - 8'd16;
      more_q <= section_q.words > 8'd32;
      section_q.offset <= section_q.offset + 8'd16;
      section_q.beats <= '0;
      section_q.row <= 1'b0;
      section_q.rho <= 1'b0;
      section_q.tile_start <= 1'b0;
    end
  end

  fifo #(
      .Width($bits(piece_t)),
      .Depth(4)
  ) i_queue (
      .clk_i,
      .rst_ni,
      .in_valid_i (push),
      .in_data_i  (piece),
      .in_ready_o (queue_ready),
      .out_valid_o(head_valid),
      .out_data_o (head),
      .out_ready_i(fire),
      .count_o    ()
  );

  // --- room ------------------------------------------------------------------------------------------------------
  logic [4:0] beats_free_q, beats_count_q;
  logic [3:0] rows_free_q;
  logic [1:0] rho_free_q;
  logic row_release_q, rho_release_q;
  always_ff @(posedge clk_i) begin
    beats_count_q <= beats_release_i ? beats_count_i : 5'd0;
    row_release_q <= row_release_i;
    rho_release_q <= rho_release_i;
    if (!rst_ni) begin
      beats_count_q <= '0;
      row_release_q <= 1'b0;
      rho_release_q <= 1'b0;
      beats_free_q <= 5'(ReplayBeats);
      rows_free_q <= 4'(ScaleRows);
      rho_free_q <= 2'd2;
    end
    else begin
      beats_free_q <= beats_free_q + beats_count_q - (fire ? head.beats : 5'd0);
      rows_free_q  <= rows_free_q + 4'(row_release_q) - 4'(fire && head.row);
      rho_free_q   <= rho_free_q + 2'(rho_release_q) - 2'(fire && head.rho);
    end
  end

  // --- levels ----------------------------------------------------------------------------------------------------
  // Words of each ring in the last pops: those that its level does not show yet.
  logic [4:0] w_pops_q[LevelAge+1];  // [0]: leaves now
  logic [4:0] k_pops_q[LevelAge+1];
  logic [6:0] w_fly_q, k_fly_q;
  logic [4:0] w_pop, k_pop;
  logic [7:0] there;  // words there, two's complement
  logic level_ok, room_ok;
  assign there = head.is_k ? 8'(k_level_i) - 8'(k_fly_q) : 8'(w_level_i) - 8'(w_fly_q);
  assign level_ok = !there[7] && {2'b00, head.words} <= there[6:0];
  assign room_ok = head.beats <= beats_free_q && (!head.row || rows_free_q != 4'd0) &&
      (!head.rho || rho_free_q != 2'd0) && (!head.tile_start || !tile_valid_o || tile_ready_i);
  assign fire = head_valid && level_ok && room_ok;
  assign w_pop = (fire && !head.is_k) ? head.words : 5'd0;
  assign k_pop = (fire && head.is_k) ? head.words : 5'd0;
  assign w_pop_o = w_pops_q[0];
  assign k_pop_o = k_pops_q[0];

  always_ff @(posedge clk_i) begin
    w_pops_q[0] <= w_pop;
    k_pops_q[0] <= k_pop;
    for (int i = 1; i <= LevelAge; i++) begin
      w_pops_q[i] <= w_pops_q[i-1];
      k_pops_q[i] <= k_pops_q[i-1];
    end
    w_fly_q <= w_fly_q + 7'(w_pop) - 7'(w_pops_q[LevelAge]);
    k_fly_q <= k_fly_q + 7'(k_pop) - 7'(k_pops_q[LevelAge]);
    if (!rst_ni) begin
      for (int i = 0; i <= LevelAge; i++) begin
        w_pops_q[i] <= '0;
        k_pops_q[i] <= '0;
      end
      w_fly_q <= '0;
      k_fly_q <= '0;
    end
  end

  // --- out -------------------------------------------------------------------------------------------------------
  always_ff @(posedge clk_i) begin
    pop_o.valid  <= fire && head.words != 5'd0;
    pop_o.dest   <= head.dest;
    pop_o.offset <= head.offset;
    pop_o.index  <= head.index;
    pop_o.done   <= head.done;
    // where the words of a K pop are wanted among 16: those of lanes in the middle of a beat stand there at once
    unique case (head.dest)
      DestKeys8: k_place_o <= {head.offset[2:0], 1'b0};
      DestKeys4: k_place_o <= head.offset[3:0];
      default:   k_place_o <= 4'd0;
    endcase
    if (fire && head.tile_start) tile_o <= head.tile;
    if (!rst_ni) begin
      pop_o.valid  <= 1'b0;
      tile_valid_o <= 1'b0;
    end
    else begin
      tile_valid_o <= (fire && head.tile_start) || (tile_valid_o && !tile_ready_i);
    end
  end
  assign idle_o = !valid_q && !head_valid && !tile_valid_o && !pop_o.valid;
endmodule
