// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The arithmetic pipeline of the special-function unit, Lanes elements wide: a chain of stages, each of which a pass uses or
// passes by (docs/rtl.md, "Special-function unit"). The configuration stays during a pass and changes only when the pipeline is
// empty; scalars belong to the issue with which they come. Operands that later stages need wait in FIFOs, so results come in the
// order of the issues, without stall: at most MaxFly issues may be on their way. A FIFO takes a cycle, so m4 takes the side product
// only behind more than a multiplier. Registers stand behind a0, m4, r9 and m11. s1 is for m1 behind an adder or
// nothing, s3 for a3 behind both multipliers; s2 stays during a pass.

/* verilator lint_off PINCONNECTEMPTY */  // no more than MaxFly operands are on their way: the caller counts
module sfu_lanes #(
    parameter int unsigned Lanes  = 16,
    parameter int unsigned MaxFly = 64
) (
    input logic clk_i,
    input logic rst_ni,
    input special_pkg::stages_t stages_i,
    input special_pkg::scalars_t scalars_i,
    input logic valid_i,
    input logic [special_pkg::Streams-1:0][Lanes-1:0][31:0] data_i,
    input logic high_i,  // rotate: second half of the head
    // before stage m10: what an ordered sum adds up
    output logic tap_valid_o,
    output logic [Lanes-1:0][31:0] tap_o,
    output logic valid_o,
    output logic [Lanes-1:0][31:0] out_o
);
  import fp32_pkg::*;
  import special_pkg::*;
  import flightllm_numerics_pkg::MinusLog2E;
  import flightllm_numerics_pkg::GeluK;
  typedef logic [Lanes-1:0][31:0] lanes_t;

  function automatic lanes_t all_lanes(logic [31:0] x);
    lanes_t v;
    for (int l = 0; l < Lanes; l++) v[l] = x;
    return v;
  endfunction

  // Scalars at the stages that use them: s1 behind a0 if that adds, s3 behind two multiplications (softmax); s2 stays.
  logic [31:0] s1_late, s1_q, s3;
  delay_line #(
      .Width(32),
      .Depth(AddLatency)
  ) i_s1 (
      .clk_i,
      .in_i (scalars_i.s1),
      .out_o(s1_late)
  );
  delay_line #(
      .Width(32),
      .Depth(2 * MulLatency + 1)
  ) i_s3 (
      .clk_i,
      .in_i (scalars_i.s3),
      .out_o(s3)
  );

  lanes_t x, y, z, w;
  assign x = data_i[StreamX];
  assign y = data_i[StreamY];
  assign z = data_i[StreamZ];
  assign w = data_i[StreamW];

  // --- a0: x + s0, x + y, relu -----------------------------------------------------------------------------------
  lanes_t a0_in, a0_relu, a0_sum, a, y_q;
  logic a0_sum_v, a_v, a0_add;
  assign a0_in  = (stages_i.rotate && high_i) ? w : x;
  assign a0_add = stages_i.a0 == A0Scalar || stages_i.a0 == A0StreamY;
  always_comb for (int l = 0; l < Lanes; l++) a0_relu[l] = maximum(x[l], 32'd0);
  lane_add #(
      .Lanes(Lanes)
  ) i_a0 (
      .clk_i,
      .rst_ni,
      .valid_i(valid_i && a0_add),
      .a_i(x),
      .b_i(stages_i.a0 == A0StreamY ? y : all_lanes(scalars_i.s0)),
      .valid_o(a0_sum_v),
      .out_o(a0_sum)
  );
  always_ff @(posedge clk_i) begin
    a_v  <= rst_ni && (a0_add ? a0_sum_v : valid_i);
    a    <= a0_add ? a0_sum : stages_i.a0 == A0Relu ? a0_relu : a0_in;
    s1_q <= a0_add ? s1_late : scalars_i.s1;
    y_q  <= y;
  end

  // --- operands of later stages ----------------------------------------------------------------------------------
  lanes_t y2, z3, x10, w11, side, side_in_a, side_in_b, side_head;
  logic b_v, c_v, d_v, e_v, i_v, j_v, side_v, side_raw_v;
  logic y2_there, z3_there, x10_there, w11_there, side_there;
  logic m2_y, a3_z, m10_used, side_used;
  assign m2_y      = stages_i.m2 == M2StreamY;
  assign a3_z      = stages_i.a3 == A3StreamZ;
  assign m10_used  = stages_i.m10 != M10Pass;
  assign side_used = stages_i.a3 == A3Side || stages_i.m4;
  fifo #(
      .Width(32 * Lanes),
      .Depth(MaxFly)
  ) i_y2 (
      .clk_i,
      .rst_ni,
      .in_valid_i(valid_i && m2_y),
      .in_data_i(y),
      .in_ready_o(),
      .out_valid_o(y2_there),
      .out_data_o(y2),
      .out_ready_i(b_v && m2_y),
      .count_o()
  );
  fifo #(
      .Width(32 * Lanes),
      .Depth(MaxFly)
  ) i_z3 (
      .clk_i,
      .rst_ni,
      .in_valid_i(valid_i && a3_z),
      .in_data_i(z),
      .in_ready_o(),
      .out_valid_o(z3_there),
      .out_data_o(z3),
      .out_ready_i(c_v && a3_z),
      .count_o()
  );
  fifo #(
      .Width(32 * Lanes),
      .Depth(MaxFly)
  ) i_x10 (
      .clk_i,
      .rst_ni,
      .in_valid_i(valid_i && m10_used),
      .in_data_i(stages_i.m10 == M10X ? x : z),
      .in_ready_o(),
      .out_valid_o(x10_there),
      .out_data_o(x10),
      .out_ready_i(i_v && m10_used),
      .count_o()
  );
  fifo #(
      .Width(32 * Lanes),
      .Depth(MaxFly)
  ) i_w11 (
      .clk_i,
      .rst_ni,
      .in_valid_i(valid_i && stages_i.m11),
      .in_data_i(w),
      .in_ready_o(),
      .out_valid_o(w11_there),
      .out_data_o(w11),
      .out_ready_i(j_v && stages_i.m11),
      .count_o()
  );

  // side product: x * K (gelu), or the other half times sin, of the sign that the half asks for
  assign side_in_a = (stages_i.rotate && !high_i) ? w : x;
  assign side_in_b = stages_i.rotate ? z : all_lanes(GeluK);
  lanes_t side_raw, side_signed;
  logic [MulLatency-1:0] low_q;
  always_ff @(posedge clk_i) low_q <= {low_q[MulLatency-2:0], stages_i.rotate && !high_i};
  lane_mul #(
      .Lanes(Lanes)
  ) i_side (
      .clk_i,
      .rst_ni,
      .valid_i(valid_i && side_used),
      .a_i(side_in_a),
      .b_i(side_in_b),
      .valid_o(side_raw_v),
      .out_o(side_raw)
  );
  always_ff @(posedge clk_i) begin
    side_v <= rst_ni && side_raw_v;
    for (int l = 0; l < Lanes; l++)
    side_signed[l] <= low_q[MulLatency-1] ? negate(side_raw[l]) : side_raw[l];
  end
  fifo #(
      .Width(32 * Lanes),
      .Depth(MaxFly)
  ) i_side_fifo (
      .clk_i,
      .rst_ni,
      .in_valid_i(side_v && stages_i.m4),
      .in_data_i(side_signed),
      .in_ready_o(),
      .out_valid_o(side_there),
      .out_data_o(side_head),
      .out_ready_i(d_v && stages_i.m4),
      .count_o()
  );
  // a rotation needs it in the very cycle in which it comes
  assign side = stages_i.rotate ? side_signed : side_head;

  // --- m1 --------------------------------------------------------------------------------------------------------
  lanes_t b, m1_b, m1_out;
  logic m1_v;
  always_comb begin
    unique case (stages_i.m1)
      M1Self:    m1_b = a;
      M1StreamY: m1_b = y_q;
      default:   m1_b = all_lanes(s1_q);
    endcase
  end
  lane_mul #(
      .Lanes(Lanes)
  ) i_m1 (
      .clk_i,
      .rst_ni,
      .valid_i(a_v && stages_i.m1 != M1Pass),
      .a_i(a),
      .b_i(m1_b),
      .valid_o(m1_v),
      .out_o(m1_out)
  );
  assign b_v = stages_i.m1 == M1Pass ? a_v : m1_v;
  assign b   = stages_i.m1 == M1Pass ? a : m1_out;

  // --- m2 --------------------------------------------------------------------------------------------------------
  lanes_t c, m2_out;
  logic m2_v;
  lane_mul #(
      .Lanes(Lanes)
  ) i_m2 (
      .clk_i,
      .rst_ni,
      .valid_i(b_v && stages_i.m2 != M2Pass),
      .a_i(b),
      .b_i(m2_y ? y2 : all_lanes(scalars_i.s2)),
      .valid_o(m2_v),
      .out_o(m2_out)
  );
  assign c_v = stages_i.m2 == M2Pass ? b_v : m2_v;
  assign c   = stages_i.m2 == M2Pass ? b : m2_out;

  // --- a3 --------------------------------------------------------------------------------------------------------
  lanes_t d, a3_b, a3_out;
  logic a3_v;
  always_comb begin
    unique case (stages_i.a3)
      A3StreamZ: a3_b = z3;
      A3Side:    a3_b = side;
      default:   a3_b = all_lanes(s3);
    endcase
  end
  lane_add #(
      .Lanes(Lanes)
  ) i_a3 (
      .clk_i,
      .rst_ni,
      .valid_i(c_v && stages_i.a3 != A3Pass),
      .a_i(c),
      .b_i(a3_b),
      .valid_o(a3_v),
      .out_o(a3_out)
  );
  assign d_v = stages_i.a3 == A3Pass ? c_v : a3_v;
  assign d   = stages_i.a3 == A3Pass ? c : a3_out;

  // --- m4 (and a register for all) -------------------------------------------------------------------------------
  lanes_t e, m4_out;
  logic m4_v;
  lane_mul #(
      .Lanes(Lanes)
  ) i_m4 (
      .clk_i,
      .rst_ni,
      .valid_i(d_v && stages_i.m4),
      .a_i(d),
      .b_i(side),
      .valid_o(m4_v),
      .out_o(m4_out)
  );
  always_ff @(posedge clk_i) begin
    e_v <= rst_ni && (stages_i.m4 ? m4_v : d_v);
    if (stages_i.m4 ? m4_v : d_v) e <= stages_i.m4 ? m4_out : d;
  end

  // --- m6, e7, a8, r9 --------------------------------------------------------------------------------------------
  lanes_t f, g, h, i, m6_out, e7_out, a8_out, r9_out;
  logic f_v, g_v, h_v, m6_v, e7_v, a8_v, r9_v;
  lane_mul #(
      .Lanes(Lanes)
  ) i_m6 (
      .clk_i,
      .rst_ni,
      .valid_i(e_v && stages_i.m6),
      .a_i(e),
      .b_i(all_lanes(MinusLog2E)),
      .valid_o(m6_v),
      .out_o(m6_out)
  );
  assign f_v = stages_i.m6 ? m6_v : e_v;
  assign f   = stages_i.m6 ? m6_out : e;
  // a register between the choice and the table, whose first stage is long
  lanes_t f_q;
  logic   f_table_v;
  always_ff @(posedge clk_i) begin
    f_table_v <= rst_ni && f_v && stages_i.e7;
    if (f_v && stages_i.e7) f_q <= f;
  end
  lane_table #(
      .Lanes(Lanes),
      .Function(TableExp2)
  ) i_e7 (
      .clk_i,
      .rst_ni,
      .valid_i(f_table_v),
      .x_i(f_q),
      .valid_o(e7_v),
      .out_o(e7_out)
  );
  assign g_v = stages_i.e7 ? e7_v : f_v;
  assign g   = stages_i.e7 ? e7_out : f;
  lane_add #(
      .Lanes(Lanes)
  ) i_a8 (
      .clk_i,
      .rst_ni,
      .valid_i(g_v && stages_i.a8),
      .a_i(g),
      .b_i(all_lanes(One)),
      .valid_o(a8_v),
      .out_o(a8_out)
  );
  assign h_v = stages_i.a8 ? a8_v : g_v;
  assign h   = stages_i.a8 ? a8_out : g;
  lane_table #(
      .Lanes(Lanes),
      .Function(TableRecip)
  ) i_r9 (
      .clk_i,
      .rst_ni,
      .valid_i(h_v && stages_i.r9),
      .x_i(h),
      .valid_o(r9_v),
      .out_o(r9_out)
  );
  always_ff @(posedge clk_i) begin
    i_v <= rst_ni && (stages_i.r9 ? r9_v : h_v);
    if (stages_i.r9 ? r9_v : h_v) i <= stages_i.r9 ? r9_out : h;
  end
  assign tap_valid_o = i_v;
  assign tap_o = i;

  // --- m10, m11 --------------------------------------------------------------------------------------------------
  lanes_t j, m10_out, m11_out;
  logic m10_v, m11_v;
  lane_mul #(
      .Lanes(Lanes)
  ) i_m10 (
      .clk_i,
      .rst_ni,
      .valid_i(i_v && m10_used),
      .a_i(i),
      .b_i(x10),
      .valid_o(m10_v),
      .out_o(m10_out)
  );
  assign j_v = m10_used ? m10_v : i_v;
  assign j   = m10_used ? m10_out : i;
  lane_mul #(
      .Lanes(Lanes)
  ) i_m11 (
      .clk_i,
      .rst_ni,
      .valid_i(j_v && stages_i.m11),
      .a_i(j),
      .b_i(w11),
      .valid_o(m11_v),
      .out_o(m11_out)
  );
  always_ff @(posedge clk_i) begin
    assert (!rst_ni || !((b_v && m2_y && !y2_there) || (c_v && a3_z && !z3_there) || (d_v && stages_i.m4 && !side_there)
        || (i_v && m10_used && !x10_there) || (j_v && stages_i.m11 && !w11_there)))
    else $error("sfu_lanes: a stage wants an operand that is not there yet");
  end

  always_ff @(posedge clk_i) begin
    valid_o <= rst_ni && (stages_i.m11 ? m11_v : j_v);
    if (stages_i.m11 ? m11_v : j_v) out_o <= stages_i.m11 ? m11_out : j;
  end
endmodule
/* verilator lint_on PINCONNECTEMPTY */
