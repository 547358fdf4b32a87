// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Round a normalised number to nearest even and pack it: tininess before rounding gives zero, too large an exponent infinity.
// Combinational. What depends on the exponent is worked out for both outcomes of the rounding's carry, which comes last.

module fp32_round (
    input  logic               sign_i,
    input  logic signed [ 9:0] exponent_i,  // biased
    input  logic        [22:0] fraction_i,  // below the leading one
    input  logic               half_i,      // the bit below
    input  logic               sticky_i,    // a one lies further below
    output logic        [31:0] out_o
);
  logic [23:0] fraction;
  logic carry;
  assign fraction = {1'b0, fraction_i} + 24'(half_i && (sticky_i || fraction_i[0]));
  assign carry = fraction[23];

  logic tiny, huge_same, huge_next;
  logic [7:0] exponent_next;
  assign tiny = exponent_i < 10'sd1;
  assign huge_same = exponent_i > 10'sd254;
  assign huge_next = exponent_i > 10'sd253;
  assign exponent_next = exponent_i[7:0] + 8'd1;

  always_comb begin
    if (tiny) out_o = {sign_i, 31'd0};
    else if (carry ? huge_next : huge_same) out_o = {sign_i, 8'hff, 23'd0};
    // after a carry all bits of the fraction are zero
    else
      out_o = {sign_i, carry ? exponent_next : exponent_i[7:0], fraction[22:0]};
  end
endmodule
