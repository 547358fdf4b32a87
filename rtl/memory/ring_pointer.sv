// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Place of a queue's next word in the 16 banks of a ring: word after word through the banks of a row, row after row through the
// queue's region of rows. The row after this one is a register too, so that nothing is added between a pop and the address.

module ring_pointer #(
    parameter int unsigned FirstRow = 0,
    parameter int unsigned Rows     = 2,
    parameter int unsigned RowWidth = 1
) (
    input  logic                clk_i,
    input  logic                rst_ni,
    input  logic [         4:0] advance_i,  // words, at most 16
    output logic [         3:0] bank_o,
    output logic [RowWidth-1:0] row_o,
    output logic [RowWidth-1:0] next_o      // row of the words that follow bank 15
);
  localparam logic [RowWidth-1:0] First = RowWidth'(FirstRow);
  localparam logic [RowWidth-1:0] Second = RowWidth'(FirstRow + (Rows > 1 ? 1 : 0));
  localparam logic [RowWidth-1:0] Last = RowWidth'(FirstRow + Rows - 1);

  logic [4:0] sum;
  assign sum = 5'(bank_o) + advance_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      bank_o <= '0;
      row_o  <= First;
      next_o <= Second;
    end else begin
      bank_o <= sum[3:0];
      if (sum[4]) begin
        row_o  <= next_o;
        next_o <= next_o == Last ? First : next_o + RowWidth'(1);
      end
    end
  end
endmodule
