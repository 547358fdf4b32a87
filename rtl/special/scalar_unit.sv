// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Scalar arithmetic between the passes of the special-function unit: short fixed programs over one multiplier, one adder and
// one table unit (docs/numerics.md, "Quantised activations", "Special functions"). A barrel of Slots jobs, one a vector: each slot
// has every Slots-th cycle, in which it issues its next operation, whose result is there at its next turn. A job of k operations takes
// k + 2 turns; up to one operation a cycle is done in all.

module scalar_unit (
    input  logic                         clk_i,
    input  logic                         rst_ni,
    input  special_pkg::quant_e          quant_i,      // of the instruction: stays while there are jobs
    input  logic                  [31:0] inv_n_i,
    input  logic                  [31:0] eps_i,
    input  logic                         job_valid_i,
    input  special_pkg::program_e        program_i,
    input  logic                  [ 6:0] tag_i,
    input  logic                  [31:0] sum_i,
    input  logic                  [31:0] max_i,        // largest magnitude
    output logic                         job_ready_o,
    output logic                         done_o,
    output special_pkg::program_e        program_o,
    output logic                  [ 6:0] tag_o,
    output logic                  [31:0] result_o,     // mean; r
    output logic                  [31:0] scale_o,
    output logic                  [31:0] inverse_o
);
  import fp32_pkg::*;
  import special_pkg::*;
  import flightllm_numerics_pkg::*;
  // a result is captured Slots - 1 cycles behind its issue: the table unit is the slowest
  localparam int unsigned Slots = 6;
  localparam int unsigned Capture = Slots - 1;

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

  // --- slots -----------------------------------------------------------------------------------------------------
  logic [2:0] turn_q, next_turn;  // the slot of this cycle; that of the next, whose result is captured now
  logic [Slots-1:0] active_q;
  program_e program_q[Slots];
  logic [6:0] tag_q[Slots];
  logic [2:0] step_q[Slots];
  logic [31:0] sum_q[Slots];
  logic [31:0] max_q[Slots];
  logic [31:0] t_q[Slots];
  logic [31:0] scale_q[Slots];
  logic [31:0] inverse_q[Slots];
  micro_t now_q;  // decoded a cycle ahead: a slot changes in its turn only
  logic here_q, go;
  assign next_turn = turn_q == 3'(Slots - 1) ? 3'd0 : turn_q + 3'd1;
  assign go        = here_q && now_q.op != OpEnd;

  function automatic logic [31:0] pick(reg_e r);
    unique case (r)
      RegSum:     return sum_q[turn_q];
      RegMax:     return max_q[turn_q];
      RegInvN:    return inv_n_i;
      RegEps:     return eps_i;
      RegInvQ:    return inv_q;
      RegTop:     return top_q;
      RegScale:   return scale_q[turn_q];
      RegInverse: return inverse_q[turn_q];
      default:    return t_q[turn_q];
    endcase
  endfunction

  // --- units, all of the same latency ----------------------------------------------------------------------------
  logic [31:0] a, b, mul, add, tab, mul_late, add_late, a_late, value;
  logic mul_v, add_v, tab_v;
  assign a = pick(now_q.a);
  assign b = pick(now_q.b);
  fp32_mul i_mul (
      .clk_i,
      .rst_ni,
      .valid_i(go && now_q.op == OpMul),
      .a_i(a),
      .b_i(b),
      .valid_o(mul_v),
      .out_o(mul)
  );
  fp32_add i_add (
      .clk_i,
      .rst_ni,
      .valid_i(go && now_q.op == OpAdd),
      .a_i(a),
      .b_i(b),
      .valid_o(add_v),
      .out_o(add)
  );
  fp32_table i_table (
      .clk_i,
      .rst_ni,
      .valid_i   (go && (now_q.op == OpRecip || now_q.op == OpRsqrt)),
      .function_i(now_q.op == OpRsqrt ? TableRsqrt : TableRecip),
      .x_i       (a),
      .valid_o   (tab_v),
      .out_o     (tab)
  );
  delay_line #(
      .Width(32),
      .Depth(Capture - MulLatency)
  ) i_mul_late (
      .clk_i,
      .in_i (mul),
      .out_o(mul_late)
  );
  delay_line #(
      .Width(32),
      .Depth(Capture - AddLatency)
  ) i_add_late (
      .clk_i,
      .in_i (add),
      .out_o(add_late)
  );
  delay_line #(
      .Width(32),
      .Depth(Capture)
  ) i_a_late (
      .clk_i,
      .in_i (a),
      .out_o(a_late)
  );
  micro_t was;
  logic   was_go;
  delay_line #(
      .Width($bits(micro_t) + 1),
      .Depth(Capture)
  ) i_was (
      .clk_i,
      .in_i ({go, now_q}),
      .out_o({was_go, was})
  );
  /* verilator lint_off UNUSEDSIGNAL */  // bf16: the low half goes
  logic [31:0] up;
  /* verilator lint_on UNUSEDSIGNAL */
  assign up = a_late + 32'h0000ffff;
  always_comb begin
    unique case (was.op)
      OpMul:   value = mul_late;
      OpAdd:   value = add_late;
      OpRound: value = {up[31:16], 16'd0};
      default: value = tab;
    endcase
  end

  // vectors too small for a scale: everything zero
  logic none;
  assign none = max_q[turn_q][30:0] < QuantTiny[30:0];
  assign job_ready_o = !here_q;
  assign done_o = here_q && now_q.op == OpEnd;
  assign program_o = program_q[turn_q];
  assign tag_o = tag_q[turn_q];
  assign result_o = t_q[turn_q];
  assign inverse_o = none ? 32'd0 : inverse_q[turn_q];
  assign scale_o = (none || (program_o == ScalarSoftmax && is_zero(inverse_q[turn_q]))) ? 32'd0 : scale_q[turn_q];

  always_ff @(posedge clk_i) begin
    now_q <= micro(program_q[next_turn], step_q[next_turn]);
    if (!rst_ni) begin
      turn_q   <= '0;
      active_q <= '0;
      here_q   <= 1'b0;
    end else begin
      here_q <= active_q[next_turn];
      turn_q <= next_turn;
      if (done_o) active_q[turn_q] <= 1'b0;
      if (job_valid_i && job_ready_o) active_q[turn_q] <= 1'b1;
    end
    if (go) step_q[turn_q] <= step_q[turn_q] + 3'd1;
    if (job_valid_i && job_ready_o) begin
      program_q[turn_q] <= program_i;
      tag_q[turn_q]     <= tag_i;
      step_q[turn_q]    <= '0;
      sum_q[turn_q]     <= sum_i;
      max_q[turn_q]     <= max_i;
    end
    if (was_go && rst_ni) begin
      unique case (was.d)
        RegScale:   scale_q[next_turn] <= value;
        RegInverse: inverse_q[next_turn] <= value;
        default:    t_q[next_turn] <= value;
      endcase
    end
  end
  logic unused;
  assign unused = &{1'b0, mul_v, add_v, tab_v, was.a, was.b, 1'b0};
endmodule
