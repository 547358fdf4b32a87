// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The two rings (FIFOs) of 8-byte words between a memory channel and its MPU, W (weights) and K (KV cache), in one memory of 16
// banks with one write and one read port: W has the first rows, K the rest (docs/rtl.md, "Rings"). A push to W is a whole 64-byte
// beat and cannot be refused; a push to K takes 1 to 8 neighbouring words of a beat. A pop takes 0 to 16 words of one of the two,
// never of both in a cycle; the data come three cycles later, first word in the low bits, or for K at word k_place_i.
//
// Words of K pass a stage register; when they meet a beat of W there, they are written and the beat waits in a skid register, through
// which W's beats pass until a cycle has none. The stage waits meanwhile, so no push may come to K while the skid register is full.

module ring #(
    parameter int unsigned WBytes = 65536,
    parameter int unsigned KBytes = 16384
) (
    input  logic              clk_i,
    input  logic              rst_ni,
    input  logic              w_push_i,
    input  logic [ 7:0][63:0] w_data_i,
    input  logic              k_push_i,
    input  logic [ 7:0][63:0] k_data_i,
    input  logic [ 2:0]       k_first_i,
    input  logic [ 3:0]       k_count_i,
    output logic              k_stall_o,  // no push to K in the next cycle
    output logic              hold_o,     // one free cycle between beats of W, please
    output logic [31:0]       k_free_o,   // words that may still be pushed to K
    output logic [ 5:0]       w_level_o,  // words that a pop of this cycle may take, at most 63
    output logic [ 5:0]       k_level_o,
    output logic [31:0]       w_count_o,  // words, all that can be popped
    output logic [31:0]       k_count_o,
    input  logic [ 4:0]       w_pop_i,
    input  logic [ 4:0]       k_pop_i,
    input  logic [ 3:0]       k_place_i,  // with k_pop_i: place of its first word among those of data_o
    output logic [15:0][63:0] data_o
);
  localparam int unsigned WWords = WBytes / 8;
  localparam int unsigned KWords = KBytes / 8;
  localparam int unsigned WRows = (WWords + 15) / 16;
  localparam int unsigned KRows = (KWords + 15) / 16;
  localparam int unsigned Rows = WRows + KRows;
  localparam int unsigned RowWidth = $clog2(Rows);
  localparam int unsigned WCountWidth = $clog2(WWords + 1);
  localparam int unsigned KCountWidth = $clog2(KWords + 1);

  // --- who writes ------------------------------------------------------------------------------------------------
  logic skid_valid_q, skid_valid_d;
  logic stage_valid_q;  // words of K on their way
  logic w_write, k_write;
  assign k_write      = stage_valid_q && !skid_valid_q;
  assign w_write      = skid_valid_q || (w_push_i && !stage_valid_q);
  assign skid_valid_d = w_push_i && (skid_valid_q || stage_valid_q);
  assign k_stall_o    = skid_valid_d;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      skid_valid_q  <= 1'b0;
      stage_valid_q <= 1'b0;
      hold_o        <= 1'b0;
    end else begin
      skid_valid_q  <= skid_valid_d;
      stage_valid_q <= k_push_i || (stage_valid_q && skid_valid_q);
      hold_o        <= skid_valid_d && !skid_valid_q;
      assert (!(k_push_i && skid_valid_q))
      else $error("ring: words of K came while a beat of W waited");
      assert (!k_push_i || (k_count_i != 0 && 5'(k_first_i) + 5'(k_count_i) <= 5'd8))
      else $error("ring: not 1 to 8 words of a beat");
    end
  end

  // --- places and levels -----------------------------------------------------------------------------------------
  logic [3:0] w_wbank, k_wbank, w_rbank, k_rbank;
  logic [RowWidth-1:0] w_wrow, k_wrow, k_wnext, w_rrow, w_rnext, k_rrow, k_rnext;
  logic [4:0] k_pushed;
  logic [3:0] stage_count_q;
  assign k_pushed = k_push_i ? 5'(k_count_i) : 5'd0;
  ring_pointer #(
      .FirstRow(0),
      .Rows    (WRows),
      .RowWidth(RowWidth)
  ) i_w_write (
      .clk_i,
      .rst_ni,
      .advance_i({1'b0, w_write, 3'b000}),
      .bank_o   (w_wbank),
      .row_o    (w_wrow),
      .next_o   ()
  );
  ring_pointer #(
      .FirstRow(WRows),
      .Rows    (KRows),
      .RowWidth(RowWidth)
  ) i_k_write (
      .clk_i,
      .rst_ni,
      .advance_i(k_pushed),
      .bank_o   (k_wbank),
      .row_o    (k_wrow),
      .next_o   (k_wnext)
  );
  ring_pointer #(
      .FirstRow(0),
      .Rows    (WRows),
      .RowWidth(RowWidth)
  ) i_w_read (
      .clk_i,
      .rst_ni,
      .advance_i(w_pop_i),
      .bank_o   (w_rbank),
      .row_o    (w_rrow),
      .next_o   (w_rnext)
  );
  ring_pointer #(
      .FirstRow(WRows),
      .Rows    (KRows),
      .RowWidth(RowWidth)
  ) i_k_read (
      .clk_i,
      .rst_ni,
      .advance_i(k_pop_i),
      .bank_o   (k_rbank),
      .row_o    (k_rrow),
      .next_o   (k_rnext)
  );

  logic [WCountWidth-1:0] w_count_q;
  logic [KCountWidth-1:0] k_count_q, k_free_q;
  assign w_count_o = 32'(w_count_q);
  assign k_count_o = 32'(k_count_q);
  assign k_free_o  = 32'(k_free_q);
  assign w_level_o = 32'(w_count_q) > 32'd63 ? 6'd63 : 6'(w_count_q);
  assign k_level_o = 32'(k_count_q) > 32'd63 ? 6'd63 : 6'(k_count_q);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      w_count_q <= '0;
      k_count_q <= '0;
      k_free_q  <= KCountWidth'(KWords);
    end else begin
      w_count_q <= w_count_q + (w_write ? WCountWidth'(8) : '0) - WCountWidth'(w_pop_i);
      k_count_q <= k_count_q + (k_write ? KCountWidth'(stage_count_q) : '0) - KCountWidth'(k_pop_i);
      k_free_q  <= k_free_q - KCountWidth'(k_pushed) + KCountWidth'(k_pop_i);
      assert (w_pop_i == 0 || k_pop_i == 0)
      else $error("ring: both popped in one cycle");
      assert (32'(w_pop_i) <= w_count_o && 32'(k_pop_i) <= k_count_o)
      else $error("ring: more popped than there is");
      assert (w_count_o + (skid_valid_q ? 32'd8 : 32'd0) + (w_push_i ? 32'd8 : 32'd0) <= WWords)
      else $error("ring: more pushed to W than there is room for");
      assert (32'(k_pushed) <= k_free_o)
      else $error("ring: more pushed to K than there is room for");
    end
  end

  // --- write -----------------------------------------------------------------------------------------------------
  // Word w of a push to K goes to bank (wbank + w) % 16; banks b and b + 8 see the same word. The rotation takes two steps of one
  // LUT a bit: by twos before the stage, by one with the choice of who writes after it. A push has one row in each half of banks.
  logic [7:0][63:0] stage_q, skid_q, wdata;
  logic [2:0] shift;
  logic stage_odd_q;
  logic [15:0] stage_banks_q;
  logic [1:0][RowWidth-1:0] stage_row_q, wrow;  // of banks 0 to 7, of banks 8 to 15
  assign shift = k_first_i - k_wbank[2:0];
  always_ff @(posedge clk_i) begin
    if (w_push_i) skid_q <= w_data_i;
    if (k_push_i) begin
      for (int b = 0; b < 8; b++) stage_q[b] <= k_data_i[3'(b)+{shift[2:1], 1'b0}];
      for (int b = 0; b < 16; b++) stage_banks_q[b] <= {1'b0, 4'(b) - k_wbank} < k_pushed;
      stage_odd_q   <= shift[0];
      stage_row_q   <= {k_wrow, k_wbank[3] ? k_wnext : k_wrow};
      stage_count_q <= k_count_i;
    end
  end
  typedef enum logic [1:0] {
    FromW,
    FromSkid,
    FromK,
    FromKNext
  } from_e;
  from_e from;
  always_comb begin
    if (skid_valid_q) from = FromSkid;
    else if (!stage_valid_q) from = FromW;
    else if (stage_odd_q) from = FromKNext;
    else from = FromK;
    for (int b = 0; b < 8; b++) begin
      unique case (from)
        FromW:    wdata[b] = w_data_i[b];
        FromSkid: wdata[b] = skid_q[b];
        FromK:    wdata[b] = stage_q[b];
        default:  wdata[b] = stage_q[3'(b)+3'd1];
      endcase
    end
    wrow = k_write ? stage_row_q : {w_wrow, w_wrow};
  end

  // --- the memory ------------------------------------------------------------------------------------------------
  // All banks read with a pop, also those that have none of its words. Rows of a thousand and more fill an UltraRAM better than
  // block RAMs.
  logic pop, pop_k;
  logic [RowWidth-1:0] rrow, rnext;
  logic [15:0][63:0] bank_q;
  assign pop   = (w_pop_i | k_pop_i) != 0;
  assign pop_k = k_pop_i != 0;
  assign rrow  = pop_k ? k_rrow : w_rrow;
  assign rnext = pop_k ? k_rnext : w_rnext;
  for (genvar b = 0; b < 16; b++) begin : gen_bank
    logic we, follows;  // the pop comes to this bank in the next row
    assign we = k_write ? stage_banks_q[b] : w_write && w_wbank[3] == 1'(b / 8);
    assign follows = pop_k ? 5'(b) < 5'(k_rbank) : 5'(b) < 5'(w_rbank);
    ram #(
        .Width(64),
        .Depth(Rows),
        .Ultra(Rows >= 1024)
    ) i_ram (
        .clk_i,
        .we_i   (we),
        .waddr_i(wrow[b/8]),
        .wdata_i(wdata[b%8]),
        .re_i   (pop),
        .raddr_i(follows ? rnext : rrow),
        .rdata_o(bank_q[b])
    );
  end

  // Rotation in two steps, by fours and by ones: place i gets bank (first - place + i) % 16. Words that select alike have select
  // registers of their own, which count from the word itself: with shared ones synthesis shares halves of selections more often, and
  // takes two LUTs a bit for one.
  logic [15:0][63:0] turned_q;
  logic [3:0] turn_d;
  assign turn_d = pop_k ? k_rbank - k_place_i : w_rbank;
  (* keep *) logic [3:0][1:0] by_four_q;  // of words 4 g to 4 g + 3: which four banks
  logic [1:0] turn_low_q;
  (* keep *) logic [3:0][1:0] by_one_q;  // of words 4 j + g: which bank of four
  always_ff @(posedge clk_i) begin
    if (pop) begin
      for (int g = 0; g < 4; g++) by_four_q[g] <= turn_d[3:2] + 2'(g);
      turn_low_q <= turn_d[1:0];
    end
    for (int g = 0; g < 4; g++) by_one_q[g] <= turn_low_q + 2'(g);
    for (int i = 0; i < 16; i++) begin
      unique case (by_four_q[i/4])
        2'd0:    turned_q[i] <= bank_q[i%4];
        2'd1:    turned_q[i] <= bank_q[4+i%4];
        2'd2:    turned_q[i] <= bank_q[8+i%4];
        default: turned_q[i] <= bank_q[12+i%4];
      endcase
      unique case (by_one_q[i%4])
        2'd0:    data_o[i] <= turned_q[(i+(4-i%4)%4)%16];
        2'd1:    data_o[i] <= turned_q[(i+(5-i%4)%4)%16];
        2'd2:    data_o[i] <= turned_q[(i+(6-i%4)%4)%16];
        default: data_o[i] <= turned_q[(i+(7-i%4)%4)%16];
      endcase
    end
  end

  logic unused;
  assign unused = &{1'b0, w_wbank[2:0], 1'b0};
endmodule
