// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Second stage of matrix_fetch: an item of fetch_plan becomes sections of the stream, one a cycle, with the tiles that begin with
// them (docs/streams.md). All lengths stand in the item; here are down-counters only.

module fetch_walk #(
    parameter int unsigned Vpus     = 8,
    parameter int unsigned Channels = 4
) (
    input  logic                 clk_i,
    input  logic                 rst_ni,
    input  logic                 item_valid_i,
    input  matrix_pkg::item_t    item_i,
    output logic                 item_ready_o,
    output logic                 section_valid_o,
    output matrix_pkg::section_t section_o,
    input  logic                 section_ready_i
);
  import matrix_pkg::*;
  localparam int unsigned LogC = $clog2(Channels);
  localparam int unsigned KeySlots = flightllm_isa_pkg::key_slots(Channels);

  typedef enum logic [3:0] {
    PhIdle,
    PhTable,
    PhRho,
    PhBias,
    PhSigma,
    PhMu,
    PhCode,
    PhIndex,
    PhPad,
    PhKeys,
    PhValues,
    PhEmpty
  } phase_e;
  phase_e phase_d, phase_q;
  logic [11:0] on_q;  // decoded, a bit for each phase
  item_t item_q;

  logic [9:0] beats_left_q;
  logic [9:0] row_q;  // of rho; accumulator row of the beat
  logic [2:0] groups_left_q;
  logic [4:0] windows_left_q;  // of the tile
  logic window_end_q;  // one is left
  logic [19:0] window_q;  // first of the tile
  logic [2:0] chunks_left_q;
  logic chunk_end_q;  // one is left
  logic [5:0] scale_at_q;  // scale beats of the entry given to tiles
  logic [31:0] unit_q, units_left_q;
  logic [7:0] lane_q, lanes_left_q;  // of a tile of K
  logic lane_end_q;  // no more than KeySlots are left
  logic [3:0] key_window_q;
  logic begin_q;  // the next section begins a tile
  logic first_unit_q;
  logic sparse_q;  // codes of the item have indices
  // which sections have more than one pop: lengths of the item above 16, compared when it comes
  logic words_more_q, tail_words_more_q, tail_vpus_more_q, sigma_more_q, mu_more_q;
  logic tail_side0_q;  // the last beat has no VPUs from Vpus / 2 on
  function automatic logic above_16(logic [7:0] n);
    return n > 8'd16;
  endfunction
  // these go on from item to item
  logic [3:0] beat_q;  // replay beat to fill
  logic [2:0] scale_row_q, scale_base_q;  // next row to fill; first row of the entry

  logic group_end, beat_end, unit_end, beat_done, item_end;
  logic [3:0] q;  // 16 / N
  logic [5:0] scale_next;
  logic [7:0] key_lanes;  // slots of a tile of K, unless the run has fewer
  assign q = 4'd1 << item_q.format[4:3];
  assign group_end = groups_left_q == 3'd1;
  assign beat_end = beats_left_q == 10'd1;
  assign unit_end = units_left_q == 32'd1;
  assign beat_done = on_q[PhIndex] || (on_q[PhCode] && !sparse_q);
  assign scale_next = scale_at_q + 6'(q);

  function automatic logic [7:0] lanes_of(logic [31:0] count);
    return count < 32'(Vpus) ? 8'(count) : 8'(Vpus);
  endfunction
  logic keys_last_q;  // the tile is the last of the run: no more than Vpus are left
  assign key_lanes = lanes_of(units_left_q);

  always_comb begin
    item_end = on_q[PhTable] || on_q[PhPad] || on_q[PhEmpty] || (on_q[PhRho] && beat_end && !item_q.bias) ||
        (on_q[PhBias] && beat_end) || (beat_done && window_end_q && group_end && beat_end) ||
        (on_q[PhKeys] && window_end_q && lane_end_q && keys_last_q) || (on_q[PhValues] && beat_end && unit_end);
  end
  assign section_valid_o = !on_q[PhIdle];
  assign item_ready_o = on_q[PhIdle] || (section_ready_i && item_end);

  // --- the section -----------------------------------------------------------------------------------------------
  always_comb begin
    section_o = '0;
    section_o.words = 8'd1;
    section_o.dest = DestDrop;
    unique case (phase_q)
      PhTable: section_o.dest = DestTable;
      PhRho, PhBias: begin
        section_o.words = (beat_end && item_q.short_row) ? 8'd1 : 8'd2;
        section_o.dest  = on_q[PhBias] ? DestBias : DestRho;
        section_o.index = row_q[7:0];
        section_o.rho   = on_q[PhRho] && begin_q;
      end
      PhSigma: begin
        section_o.words = chunk_end_q ? item_q.sigma_words : 8'(Vpus);
        section_o.more  = chunk_end_q ? sigma_more_q : above_16(8'(Vpus));
        section_o.dest  = DestSigma;
        section_o.index = 8'(scale_row_q);
        section_o.row   = 1'b1;
      end
      PhMu: begin
        // the mu of a scale row go into the same row
        section_o.words = chunk_end_q ? item_q.mu_words : 8'(3 * Vpus / 2);
        section_o.more  = chunk_end_q ? mu_more_q : above_16(8'(3 * Vpus / 2));
        section_o.dest  = DestMu;
        section_o.index = 8'(scale_row_q);
      end
      PhCode: begin
        section_o.words = beat_end ? item_q.tail_words : item_q.words;
        section_o.more = beat_end ? tail_words_more_q : words_more_q;
        section_o.dest = DestCode;
        section_o.index = 8'(beat_q);
        section_o.done = !sparse_q;
        section_o.beats = 5'd1;
        section_o.tile_start = begin_q;
      end
      PhIndex: begin
        section_o.words = beat_end ? item_q.tail_vpus : 8'(Vpus);
        section_o.more  = beat_end ? tail_vpus_more_q : above_16(8'(Vpus));
        section_o.dest  = DestIndex;
        section_o.index = 8'(beat_q);
        section_o.done  = 1'b1;
      end
      PhKeys: begin
        section_o.words = item_q.four ? 8'(KeySlots) : 8'(2 * KeySlots);
        section_o.is_k = 1'b1;
        section_o.dest = item_q.four ? DestKeys4 : DestKeys8;
        section_o.offset = lane_q;
        section_o.index = 8'(4'(beat_q + key_window_q));
        section_o.done = lane_end_q;
        section_o.beats = begin_q ? item_q.windows : 5'd0;
        section_o.tile_start = begin_q;
      end
      PhValues: begin
        section_o.words = beat_end ? item_q.tail_words : item_q.words;
        section_o.more = beat_end ? tail_words_more_q : words_more_q;
        section_o.is_k = 1'b1;
        section_o.dest = DestCode;
        section_o.index = 8'(beat_q);
        section_o.done = 1'b1;
        section_o.beats = 5'd1;
        section_o.tile_start = 1'b1;
      end
      PhPad:   section_o.pad = 1'b1;
      default: begin  // PhEmpty
        section_o.words = 8'd0;
        section_o.tile_start = 1'b1;
      end
    endcase

    // --- its tile ------------------------------------------------------------------------------------------------
    section_o.tile.strip = item_q.strip;
    unique case (phase_q)
      PhKeys: begin
        section_o.tile.nw = item_q.windows;
        section_o.tile.width = item_q.four ? Width4 : Width8;
        section_o.tile.unit_scale = 1'b1;
        section_o.tile.first = 1'b1;
        section_o.tile.last = 1'b1;
        section_o.tile.side0_only = key_lanes <= 8'(Vpus / 2);
        section_o.tile.strip.slots = 20'(key_lanes);
        section_o.tile.strip.base = 32'(unit_q << LogC);
        section_o.tile.strip.op_last = item_q.last && keys_last_q;
      end
      PhValues: begin
        section_o.tile.nw = 5'd1;
        section_o.tile.width = item_q.four ? WidthV4 : Width8;
        section_o.tile.unit_scale = 1'b1;
        section_o.tile.row = row_q;
        section_o.tile.window = unit_q[19:0];
        section_o.tile.first = item_q.first && first_unit_q;
        section_o.tile.last = item_q.last && unit_end && beat_end;
        section_o.tile.side0_only = beat_end && tail_side0_q;
      end
      PhEmpty: section_o.tile.last = 1'b1;
      default: begin  // PhCode
        section_o.tile.nw = group_end ? item_q.tail_windows : item_q.windows;
        section_o.tile.n_index = item_q.format[4:3];
        section_o.tile.width = item_q.format[2:0];
        section_o.tile.affine = item_q.format[5];
        section_o.tile.row = row_q;
        section_o.tile.window = window_q;
        section_o.tile.first = item_q.first && groups_left_q == item_q.groups;
        section_o.tile.last = item_q.last && beat_end && group_end;
        section_o.tile.scale = {scale_base_q, 3'b000} + scale_at_q;
        section_o.tile.side0_only = beat_end && tail_side0_q;
        section_o.tile.free_row = scale_next[2:0] == 3'd0 || scale_next == item_q.scales;
      end
    endcase
  end

  // --- control ---------------------------------------------------------------------------------------------------
  logic [4:0] item_windows, first_windows, next_windows;
  assign item_windows = (item_i.kind == ItemEntry && item_i.groups == 3'd1) ? item_i.tail_windows : item_i.windows;
  assign first_windows = item_q.groups == 3'd1 ? item_q.tail_windows : item_q.windows;
  assign next_windows  = groups_left_q == 3'd2 ? item_q.tail_windows : item_q.windows;

  always_comb begin
    phase_d = phase_q;
    if (item_ready_o) begin
      phase_d = PhIdle;
      if (item_valid_i) begin
        unique case (item_i.kind)
          ItemTable:  phase_d = PhTable;
          ItemRho:    phase_d = PhRho;
          ItemEntry:  phase_d = PhSigma;
          ItemPad:    phase_d = PhPad;
          ItemKeys:   phase_d = PhKeys;
          ItemValues: phase_d = PhValues;
          default:    phase_d = PhEmpty;
        endcase
      end
    end else if (section_ready_i) begin
      unique case (phase_q)
        PhRho:   if (beat_end) phase_d = PhBias;
        PhSigma: if (chunk_end_q) phase_d = item_q.format[5] ? PhMu : PhCode;
        PhMu:    if (chunk_end_q) phase_d = PhCode;
        PhCode:  if (sparse_q) phase_d = PhIndex;
        PhIndex: phase_d = PhCode;
        default:       ;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      phase_q <= PhIdle;
      on_q <= 12'd1 << PhIdle;
      beat_q <= '0;
      scale_row_q <= '0;
    end else begin
      phase_q <= phase_d;
      on_q <= 12'd1 << phase_d;
      if (section_ready_i) begin
        if (beat_done || on_q[PhValues]) beat_q <= beat_q + 4'd1;
        if (on_q[PhKeys] && window_end_q && lane_end_q) beat_q <= beat_q + item_q.windows[3:0];
        if (on_q[PhSigma] || on_q[PhMu]) scale_row_q <= scale_row_q + 3'd1;
        if (on_q[PhSigma] && chunk_end_q && item_q.format[5]) scale_row_q <= scale_base_q;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (item_ready_o) begin
      item_q            <= item_i;
      beats_left_q      <= item_i.beats;
      row_q             <= (item_i.kind == ItemRho && item_i.half) ? 10'(2 * Vpus) : 10'd0;
      groups_left_q     <= item_i.groups;
      windows_left_q    <= item_windows;
      window_end_q      <= item_windows == 5'd1;
      window_q          <= item_i.unit[19:0];
      chunks_left_q     <= item_i.chunks;
      chunk_end_q       <= item_i.chunks == 3'd1;
      scale_at_q        <= '0;
      scale_base_q      <= scale_row_q;
      unit_q            <= item_i.unit;
      units_left_q      <= item_i.count;
      keys_last_q       <= item_i.count <= 32'(Vpus);
      lane_q            <= '0;
      lanes_left_q      <= lanes_of(item_i.count);
      lane_end_q        <= Vpus <= KeySlots || item_i.count <= 32'(KeySlots);
      key_window_q      <= '0;
      begin_q           <= 1'b1;
      first_unit_q      <= 1'b1;
      sparse_q          <= item_i.format[4:3] != NDense;
      words_more_q      <= above_16(item_i.words);
      tail_words_more_q <= above_16(item_i.tail_words);
      tail_vpus_more_q  <= above_16(item_i.tail_vpus);
      tail_side0_q      <= item_i.tail_vpus <= 8'(Vpus / 2);
      sigma_more_q      <= above_16(item_i.sigma_words);
      mu_more_q         <= above_16(item_i.mu_words);
    end
    else if (section_ready_i) begin
      unique case (phase_q)
        PhRho, PhBias: begin
          begin_q <= 1'b0;
          row_q <= row_q + 10'd1;
          beats_left_q <= beats_left_q - 10'd1;
          if (beat_end) begin
            row_q <= item_q.half ? 10'(2 * Vpus) : 10'd0;
            beats_left_q <= item_q.beats;
          end
        end
        PhSigma, PhMu: begin
          chunks_left_q <= chunk_end_q ? item_q.chunks : chunks_left_q - 3'd1;
          chunk_end_q <= chunk_end_q ? item_q.chunks == 3'd1 : chunks_left_q == 3'd2;
        end
        PhCode, PhIndex: begin
          begin_q <= beat_done && window_end_q;
          if (beat_done) begin
            windows_left_q <= windows_left_q - 5'd1;
            window_end_q <= windows_left_q == 5'd2;
            if (window_end_q) begin
              scale_at_q <= scale_next;
              window_q <= window_q + 20'(item_q.windows);
              groups_left_q <= groups_left_q - 3'd1;
              windows_left_q <= next_windows;
              window_end_q <= next_windows == 5'd1;
              if (group_end) begin
                window_q <= item_q.unit[19:0];
                groups_left_q <= item_q.groups;
                windows_left_q <= first_windows;
                window_end_q <= first_windows == 5'd1;
                beats_left_q <= beats_left_q - 10'd1;
                row_q <= row_q + 10'(q);
              end
            end
          end
        end
        PhKeys: begin
          begin_q <= 1'b0;
          key_window_q <= key_window_q + 4'd1;
          windows_left_q <= windows_left_q - 5'd1;
          window_end_q <= windows_left_q == 5'd2;
          if (window_end_q) begin
            key_window_q <= '0;
            windows_left_q <= item_q.windows;
            window_end_q <= item_q.windows == 5'd1;
            lane_q <= lane_q + 8'(KeySlots);
            lanes_left_q <= lanes_left_q - 8'(KeySlots);
            lane_end_q <= lanes_left_q <= 8'(2 * KeySlots);
            if (lane_end_q) begin
              begin_q <= 1'b1;
              lane_q <= '0;
              unit_q <= unit_q + 32'(Vpus);
              units_left_q <= units_left_q - 32'(Vpus);
              keys_last_q <= units_left_q <= 32'(2 * Vpus);
              lanes_left_q <= lanes_of(units_left_q - 32'(Vpus));
              lane_end_q <= Vpus <= KeySlots || units_left_q <= 32'(Vpus + KeySlots);
            end
          end
        end
        PhValues: begin
          row_q <= row_q + 10'd1;
          beats_left_q <= beats_left_q - 10'd1;
          if (beat_end) begin
            row_q <= '0;
            beats_left_q <= item_q.beats;
            first_unit_q <= 1'b0;
            unit_q <= unit_q + 32'd1;
            units_left_q <= units_left_q - 32'd1;
          end
        end
        default: ;
      endcase
    end
  end
endmodule
