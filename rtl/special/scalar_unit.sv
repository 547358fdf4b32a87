// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Scalar arithmetic between the passes of the special-function unit: short fixed programs over one multiplier, one adder and
// one table unit (docs/numerics.md, "Quantised activations", "Special functions").

module scalar_unit (
    input  logic                         clk_i,
    input  logic                         rst_ni,
    input  logic                         start_i,
    input  special_pkg::program_e        program_i,
    input  special_pkg::quant_e          quant_i,
    input  logic                  [31:0] sum_i,
    input  logic                  [31:0] max_i,      // largest magnitude
    input  logic                  [31:0] inv_n_i,
    input  logic                  [31:0] eps_i,
    output logic                         done_o,
    output logic                  [31:0] result_o,   // mean; r
    output logic                  [31:0] scale_o,
    output logic                  [31:0] inverse_o
);
  import fp32_pkg::*;
  import special_pkg::*;
  import flightllm_numerics_pkg::*;

  typedef enum logic [2:0] {
    OpMul,
    OpAdd,
    OpRecip,
    OpRsqrt,
    OpRound,  // scale to bf16, up in magnitude
    OpEnd
  } op_e;
  typedef enum logic [3:0] {
    RegSum,
    RegMax,
    RegInvN,
    RegEps,
    RegInvQ,
    RegTop,
    RegT,
    RegScale,
    RegInverse
  } reg_e;
  typedef struct packed {
    op_e  op;
    reg_e a;
    reg_e b;
    reg_e d;
  } micro_t;

  logic [31:0] inv_q, top_q;
  always_comb begin
    unique case (quant_i)
      QuantDual: {inv_q, top_q} = {InvDual, FloatDual};
      QuantKv8:  {inv_q, top_q} = {InvKv8, FloatKv8};
      QuantKv4:  {inv_q, top_q} = {InvKv4, FloatKv4};
      default:   {inv_q, top_q} = {InvA8, FloatA8};
    endcase
  end

  function automatic micro_t micro(program_e prog, logic [2:0] step);
    unique case (prog)
      ScalarMean:
      unique case (step)
        3'd0:    return '{OpMul, RegSum, RegInvN, RegT};
        default: return '{OpEnd, RegT, RegT, RegT};
      endcase
      ScalarRsqrt:
      unique case (step)
        3'd0:    return '{OpMul, RegSum, RegInvN, RegT};
        3'd1:    return '{OpAdd, RegT, RegEps, RegT};
        3'd2:    return '{OpRsqrt, RegT, RegT, RegT};
        default: return '{OpEnd, RegT, RegT, RegT};
      endcase
      ScalarQuant:
      unique case (step)
        3'd0:    return '{OpMul, RegMax, RegInvQ, RegScale};
        3'd1:    return '{OpRecip, RegMax, RegMax, RegT};
        3'd2:    return '{OpMul, RegT, RegTop, RegInverse};
        default: return '{OpEnd, RegT, RegT, RegT};
      endcase
      ScalarQuantKv:
      unique case (step)
        3'd0:    return '{OpMul, RegMax, RegInvQ, RegScale};
        3'd1:    return '{OpRound, RegScale, RegScale, RegScale};
        3'd2:    return '{OpRecip, RegScale, RegScale, RegInverse};
        default: return '{OpEnd, RegT, RegT, RegT};
      endcase
      default:  // ScalarSoftmax
      unique case (step)
        3'd0:    return '{OpMul, RegMax, RegInvQ, RegScale};
        3'd1:    return '{OpRecip, RegSum, RegSum, RegT};
        3'd2:    return '{OpMul, RegScale, RegT, RegScale};
        3'd3:    return '{OpRecip, RegMax, RegMax, RegT};
        3'd4:    return '{OpMul, RegT, RegTop, RegInverse};
        default: return '{OpEnd, RegT, RegT, RegT};
      endcase
    endcase
  endfunction

  logic busy_q, issued_q;
  program_e program_q;
  logic [2:0] step_q;
  logic [31:0] t_q, scale_q, inverse_q;
  micro_t now;
  assign now = micro(program_q, step_q);

  function automatic logic [31:0] pick(reg_e r);
    unique case (r)
      RegSum:     return sum_i;
      RegMax:     return max_i;
      RegInvN:    return inv_n_i;
      RegEps:     return eps_i;
      RegInvQ:    return inv_q;
      RegTop:     return top_q;
      RegScale:   return scale_q;
      RegInverse: return inverse_q;
      default:    return t_q;
    endcase
  endfunction

  logic [31:0] a, b, mul, add, tab, value;
  logic mul_v, add_v, tab_v, go, back;
  assign a  = pick(now.a);
  assign b  = pick(now.b);
  assign go = busy_q && !issued_q;
  fp32_mul i_mul (
      .clk_i,
      .rst_ni,
      .valid_i(go && now.op == OpMul),
      .a_i(a),
      .b_i(b),
      .valid_o(mul_v),
      .out_o(mul)
  );
  fp32_add i_add (
      .clk_i,
      .rst_ni,
      .valid_i(go && now.op == OpAdd),
      .a_i(a),
      .b_i(b),
      .valid_o(add_v),
      .out_o(add)
  );
  fp32_table i_table (
      .clk_i,
      .rst_ni,
      .valid_i   (go && (now.op == OpRecip || now.op == OpRsqrt)),
      .function_i(now.op == OpRsqrt ? TableRsqrt : TableRecip),
      .x_i       (a),
      .valid_o   (tab_v),
      .out_o     (tab)
  );
  assign back = mul_v || add_v || tab_v || (issued_q && now.op == OpRound);
  /* verilator lint_off UNUSEDSIGNAL */  // bf16: the low half goes
  logic [31:0] up;
  /* verilator lint_on UNUSEDSIGNAL */
  assign up = scale_q + 32'h0000ffff;
  assign value = mul_v ? mul : add_v ? add : tab_v ? tab : {up[31:16], 16'd0};

  // vectors too small for a scale: everything zero
  logic none;
  assign none = max_i[30:0] < QuantTiny[30:0];
  assign done_o    = busy_q && !issued_q && now.op == OpEnd;
  assign result_o  = t_q;
  assign inverse_o = none ? 32'd0 : inverse_q;
  assign scale_o   = (none || (program_q == ScalarSoftmax && is_zero(inverse_q))) ? 32'd0 : scale_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q   <= 1'b0;
      issued_q <= 1'b0;
    end else if (start_i) begin
      busy_q    <= 1'b1;
      issued_q  <= 1'b0;
      program_q <= program_i;
      step_q    <= '0;
    end else if (busy_q) begin
      if (!issued_q) begin
        if (now.op == OpEnd) busy_q <= 1'b0;
        else issued_q <= 1'b1;
      end else if (back) begin
        issued_q <= 1'b0;
        step_q   <= step_q + 3'd1;
        unique case (now.d)
          RegScale:   scale_q <= value;
          RegInverse: inverse_q <= value;
          default:    t_q <= value;
        endcase
      end
    end
  end
endmodule
