// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Ring (FIFO) of 8-byte words between a memory channel and its MPU: 16 banks. A push takes 1 to 8 neighbouring words of a
// 64-byte beat, a pop 0 to 16 words, whose data come three cycles later, first word in the low bits. The pusher looks at free_o
// before it pushes, the reader at level_o before it pops; level_o counts words whose push is visible to a pop of this cycle.

module ring #(
    parameter int unsigned Bytes      = 65536,
    parameter bit          WholeBeats = 1'b0    // push_first_i is always 0 and push_count_i 8
) (
    input  logic              clk_i,
    input  logic              rst_ni,
    input  logic              push_valid_i,
    input  logic [ 7:0][63:0] push_data_i,
    input  logic [ 2:0]       push_first_i,
    input  logic [ 3:0]       push_count_i,
    output logic [31:0]       free_o,        // words
    output logic [ 5:0]       level_o,       // words, at most 63
    output logic [31:0]       count_o,       // words, all of them
    input  logic [ 4:0]       pop_i,
    output logic [15:0][63:0] data_o
);
  localparam int unsigned Words = Bytes / 8;
  localparam int unsigned Rows = Words / 16;
  localparam int unsigned RowWidth = (Rows > 1) ? $clog2(Rows) : 1;

  logic [3:0] wbank_q, rbank_q;  // bank of the next word
  logic [RowWidth-1:0] wrow_q, rrow_q;
  logic [31:0] level_q, free_q;  // words in the ring; words not reserved by what is in it
  logic [4:0] pushed, pushed_q;

  assign pushed  = push_valid_i ? 5'(push_count_i) : 5'd0;
  assign count_o = level_q;
  assign free_o  = free_q;
  assign level_o = level_q > 32'd63 ? 6'd63 : 6'(level_q);

  function automatic logic [RowWidth-1:0] next_row(logic [RowWidth-1:0] r);
    return r == RowWidth'(Rows - 1) ? '0 : r + RowWidth'(1);
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wbank_q  <= '0;
      rbank_q  <= '0;
      wrow_q   <= '0;
      rrow_q   <= '0;
      level_q  <= '0;
      free_q   <= 32'(Words);
      pushed_q <= '0;
    end else begin
      pushed_q <= pushed;
      level_q  <= level_q + 32'(pushed_q) - 32'(pop_i);
      free_q   <= free_q - 32'(pushed) + 32'(pop_i);
      wbank_q  <= wbank_q + pushed[3:0];
      if (5'(wbank_q) + pushed >= 5'd16) wrow_q <= next_row(wrow_q);
      rbank_q <= rbank_q + pop_i[3:0];
      if (6'(rbank_q) + 6'(pop_i) >= 6'd16) rrow_q <= next_row(rrow_q);
      assert (32'(pop_i) <= level_q)
      else $error("ring: more popped than there is");
      assert (32'(pushed) <= free_q)
      else $error("ring: more pushed than there is room for");
    end
  end

  // Word w of the push goes to bank (wbank + w) % 16; banks b and b + 8 see the same word.
  logic [7:0][63:0] push_turned;
  if (WholeBeats) begin : gen_whole
    assign push_turned = push_data_i;
    always_ff @(posedge clk_i) begin
      assert (!push_valid_i || (push_first_i == 0 && push_count_i == 8))
      else $error("ring: not a whole beat");
    end
  end else begin : gen_part
    logic [2:0] shift;
    assign shift = push_first_i - wbank_q[2:0];
    for (genvar b = 0; b < 8; b++) begin : gen_word
      assign push_turned[b] = push_data_i[3'(b)+shift];
    end
  end

  // A memory of a thousand rows fills an UltraRAM better than block RAMs.
  logic [15:0][63:0] bank_q;
  logic [3:0] turn_q;
  logic [1:0] turn_low_q;
  for (genvar b = 0; b < 16; b++) begin : gen_bank
    logic [3:0] wplace, rplace;  // this bank's place in the push and in the pop
    assign wplace = 4'(b) - wbank_q;
    assign rplace = 4'(b) - rbank_q;
    ram #(
        .Width(64),
        .Depth(Rows),
        .Ultra(Rows >= 1024)
    ) i_ram (
        .clk_i,
        .we_i   (push_valid_i && {1'b0, wplace} < pushed),
        .waddr_i((5'(b) < 5'(wbank_q)) ? next_row(wrow_q) : wrow_q),
        .wdata_i(push_turned[b%8]),
        .re_i   ({1'b0, rplace} < pop_i),
        .raddr_i((5'(b) < 5'(rbank_q)) ? next_row(rrow_q) : rrow_q),
        .rdata_o(bank_q[b])
    );
  end

  // Rotation in two steps of one LUT a bit each, by fours and by ones: word i of the pop lies in bank (first + i) % 16.
  logic [15:0][63:0] turned_q;
  always_ff @(posedge clk_i) begin
    if (pop_i != 0) turn_q <= rbank_q;
    turn_low_q <= turn_q[1:0];
    for (int i = 0; i < 16; i++) begin
      turned_q[i] <= bank_q[4'(i)+{turn_q[3:2], 2'b00}];
      data_o[i]   <= turned_q[4'(i)+4'(turn_low_q)];
    end
  end

endmodule
