// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// fp32 words as docs/numerics.md treats them: subnormal operands are zeros of their sign, one NaN.

/* verilator lint_off UNUSEDPARAM */  // a module uses some of the latencies
/* verilator lint_off UNUSEDSIGNAL */  // questions about a word look at some of its bits
package fp32_pkg;

  localparam logic [31:0] NotANumber = 32'h7fc00000;
  localparam logic [31:0] One = 32'h3f800000;
  localparam logic [31:0] MinusInfinity = 32'hff800000;

  // Latencies of the pipelines, in cycles from valid_i to valid_o.
  localparam int unsigned AddLatency = 4;
  localparam int unsigned MulLatency = 3;
  localparam int unsigned TableLatency = 5;
  localparam int unsigned IntToFpLatency = 3;
  localparam int unsigned FpToIntLatency = 2;

  // Functions of fp32_table.
  localparam logic [1:0] TableExp2 = 2'd0;
  localparam logic [1:0] TableRecip = 2'd1;
  localparam logic [1:0] TableRsqrt = 2'd2;

  function automatic logic is_zero(logic [31:0] x);
    return x[30:23] == 8'd0;
  endfunction
  function automatic logic is_inf(logic [31:0] x);
    return x[30:23] == 8'hff && x[22:0] == 23'd0;
  endfunction
  function automatic logic is_nan(logic [31:0] x);
    return x[30:23] == 8'hff && x[22:0] != 23'd0;
  endfunction
  function automatic logic [31:0] flush(logic [31:0] x);
    return is_zero(x) ? {x[31], 31'd0} : x;
  endfunction
  function automatic logic [31:0] negate(logic [31:0] x);
    return is_nan(x) ? NotANumber : {!x[31], x[30:0]};
  endfunction

  // |x|, NaN counted as 0: what max magnitude compares, as unsigned integers
  function automatic logic [30:0] magnitude(logic [31:0] x);
    return (is_zero(x) || is_nan(x)) ? 31'd0 : x[30:0];
  endfunction

  // a monotonous integer key: signed comparison of keys orders numbers, -0 and +0 equal
  function automatic logic signed [32:0] order_key(logic [31:0] x);
    return is_zero(x) ? 33'sd0 : x[31] ? -33'(signed'({1'b0, x[30:0]})) : 33'(signed'({1'b0, x[30:0]}));
  endfunction

  // max(a, b): a NaN loses against a number, of equal operands the first
  function automatic logic [31:0] maximum(logic [31:0] a, logic [31:0] b);
    if (is_nan(a)) return is_nan(b) ? NotANumber : flush(b);
    if (is_nan(b)) return flush(a);
    return order_key(b) > order_key(a) ? flush(b) : flush(a);
  endfunction

endpackage
/* verilator lint_on UNUSEDPARAM */
/* verilator lint_on UNUSEDSIGNAL */
