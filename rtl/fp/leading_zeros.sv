// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Number of zeros above the leading one, by a tree of pairs: log2(Width) steps, where a loop over the bits becomes a chain of
// Width. Without a one, zero_o is set and the count means nothing.

module leading_zeros #(
    parameter  int unsigned Width  = 32,
    localparam int unsigned Levels = $clog2(Width)
) (
    input  logic [ Width-1:0] in_i,
    output logic [Levels-1:0] count_o,
    output logic              zero_o
);
  localparam int unsigned Full = 1 << Levels;
  // node n of level l covers 2^l bits from bit n * 2^l on; missing bits are appended below
  logic [Full-1:0] bits;
  assign bits = Full'(in_i) << (Full - Width);

  logic [Levels:0][Full-1:0] empty;
  logic [Levels:0][Full-1:0][Levels-1:0] zeros;
  always_comb begin
    empty = '1;
    zeros = '0;
    empty[0] = ~bits;
    for (int unsigned l = 1; l <= Levels; l++) begin
      for (int unsigned n = 0; n < (Full >> l); n++) begin
        empty[l][n] = empty[l-1][2*n] && empty[l-1][2*n+1];
        zeros[l][n] = empty[l-1][2*n+1] ? zeros[l-1][2*n] : zeros[l-1][2*n+1];
        zeros[l][n][l-1] = empty[l-1][2*n+1];
      end
    end
  end
  assign count_o = zeros[Levels][0];
  assign zero_o  = empty[Levels][0];
endmodule
