// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// An MPU: the VPUs of one memory channel, one or two to a chain, with their replay buffer, scale memory and row scales. All timing comes from
// the matrix unit's controllers, the same for every channel: beat_i in cycle t reads the replay buffer, beat_width_i
// and beat_sparse_i belong to cycle t + 1, codes reach the VPUs in cycle t + 2. scale_i belongs to cycle u - 1 of an
// operation. Chain v has the VPUs v (side 0) and, with two a chain, v + Vpus / 2 (side 1).

module mpu #(
    parameter int unsigned Vpus = 8,
    parameter int unsigned ChainVpus = 1,
    parameter int unsigned KeySlots = 4,
    parameter int unsigned Entries = 512,  // accumulators of a VPU for one lane
    localparam int unsigned BankEntries = ChainVpus * Entries
) (
    input logic clk_i,
    input logic ce_i,
    // popped words, repeated as their destination wants them: words of DestKeys8 and DestKeys4 fill all 16 places
    input matrix_pkg::pop_t pop_i,
    input logic [15:0][63:0] pop_data_i,
    // execute
    input logic beat_valid_i,
    input logic [3:0] beat_i,
    input logic beat1_valid_i,
    input logic [2:0] beat1_width_i,
    input logic beat1_sparse_i,
    input logic beat1_side_i,  // indices of side 1
    input logic [7:0][15:0][7:0] win_a_i,
    input logic [7:0][15:0][7:0] win_b_i,
    input logic [7:0][1:0] mode_i,
    input logic [7:0] side_i,
    input logic [7:0] packed_i,
    input logic [3:0] tap_valid_i,  // [node % 4]
    input logic [3:0] tap_last_i,
    input logic [3:0] tap_clear_i,
    // scale operations
    input logic [5:0] scale_i,  // cycle u - 1
    input logic unit_scale_i,  // cycle u - 1
    input logic [1:0] sigma_side_i,  // [lane], cycle u - 1
    input logic mu_side_i,  // cycle u - 1
    input logic [1:0] op_n_index_i,  // cycle u
    input logic [2:0] op_node_i,
    input logic signed [17:0] group_sum_i,
    input logic op1_valid_i,  // cycle u + 1
    input logic op1_affine_i,
    input logic op1_lane_i,
    input logic op1_first_i,
    input logic [ChainVpus-1:0][$clog2(BankEntries)-1:0] op1_addr_i,  // [lane], or one for both
    // drain
    input logic [$clog2(BankEntries)-1:0] drain_addr_i,
    input logic [1:0] capture_i,  // [side], the cycle after drain_addr_i
    input logic capture_dual_i,
    input logic capture_lane_i,
    output logic [Vpus-1:0][47:0] capture_o,
    input logic [7:0] rho_row_i,
    output logic [3:0][31:0] rho_o,  // the cycle after rho_row_i
    output logic [3:0][31:0] bias_o
);
  import matrix_pkg::*;
  localparam int unsigned Chains = Vpus / ChainVpus;
  localparam int unsigned CodeWords = 2 * Vpus;
  localparam int unsigned KeyWords = 2 * KeySlots;
  localparam int unsigned SigmaWords = Vpus;
  localparam int unsigned MuWords = 3 * Vpus / 2;
  localparam int unsigned RhoRows = 4 * Vpus;  // two strips of up to 8 V slots, four slots a row

  // --- memories filled from the ring -----------------------------------------------------------------------------
  logic [CodeWords-1:0][63:0] code_mem[ReplayBeats];
  logic [Vpus-1:0][63:0] index_mem[ReplayBeats];
  logic [SigmaWords-1:0][63:0] sigma_mem[ScaleRows];
  logic [MuWords-1:0][63:0] mu_mem[ScaleRows];
  logic [127:0] rho_mem[RhoRows];
  logic [127:0] bias_mem[RhoRows];

  logic [CodeWords-1:0] code_we;
  always_comb begin
    for (int w = 0; w < CodeWords; w++) begin
      unique case (pop_i.dest)
        DestCode:  code_we[w] = w / 16 == int'(pop_i.offset) / 16;
        DestKeys8: code_we[w] = w / KeyWords == int'(pop_i.offset) / KeySlots;
        DestKeys4: code_we[w] = w < Vpus && w / KeySlots == int'(pop_i.offset) / KeySlots;
        default:   code_we[w] = 1'b0;
      endcase
    end
  end
  always_ff @(posedge clk_i) begin
    if (pop_i.valid) begin
      // word w of a memory comes from place w % 16 whatever the destination, so that only the enables differ
      for (int w = 0; w < CodeWords; w++) begin
        if (code_we[w]) code_mem[pop_i.index[3:0]][w] <= pop_data_i[w%16];
      end
      unique case (pop_i.dest)
        DestIndex:
        for (int w = 0; w < Vpus; w++) begin
          if (w / 16 == int'(pop_i.offset) / 16) index_mem[pop_i.index[3:0]][w] <= pop_data_i[w%16];
        end
        DestSigma:
        for (int w = 0; w < SigmaWords; w++) begin
          if (w / 16 == int'(pop_i.offset) / 16) sigma_mem[pop_i.index[2:0]][w] <= pop_data_i[w%16];
        end
        DestMu:
        for (int w = 0; w < MuWords; w++) begin
          if (w / 16 == int'(pop_i.offset) / 16) mu_mem[pop_i.index[2:0]][w] <= pop_data_i[w%16];
        end
        DestRho:  rho_mem[pop_i.index[$clog2(RhoRows)-1:0]] <= {pop_data_i[1], pop_data_i[0]};
        DestBias: bias_mem[pop_i.index[$clog2(RhoRows)-1:0]] <= {pop_data_i[1], pop_data_i[0]};
        default:  ;
      endcase
    end
    rho_o  <= rho_mem[rho_row_i[$clog2(RhoRows)-1:0]];
    bias_o <= bias_mem[rho_row_i[$clog2(RhoRows)-1:0]];
  end

  // --- replay and dequantise -------------------------------------------------------------------------------------
  logic [CodeWords*64-1:0] raw_q;
  logic [Vpus-1:0][15:0][3:0] raw_index_q;
  logic [Chains-1:0][15:0][3:0] index_q;
  logic [Chains-1:0][15:0][7:0] code_q, code1_q;

  // A multiplexer of seven is two of four in a row, one LUT each: up to 4 bits in the first, the wider ones in the second.
  logic [1:0] narrow, wide;
  always_comb begin
    narrow = beat1_width_i == WidthV4 ? 2'd3 : beat1_width_i[1:0];
    unique case (beat1_width_i)
      3'd0, 3'd1, 3'd2, WidthV4: wide = 2'd0;
      3'd3: wide = 2'd1;
      3'd4: wide = 2'd2;
      default: wide = 2'd3;
    endcase
  end

  // code k of VPU v: its own bits, above them its sign
  function automatic logic [7:0] code_of(logic [CodeWords*64-1:0] raw, int v, int k,
                                         logic [1:0] choice_low, logic [1:0] choice_high);
    logic [3:0][7:0] low, high;
    logic sign;
    logic [7:0] code;
    low[0] = 8'(raw[(v*16+k)*2+:2]);
    low[1] = 8'(raw[(v*16+k)*3+:3]);
    low[2] = 8'(raw[(v*16+k)*4+:4]);
    low[3] = 8'(raw[((v/2)*16+k)*8+(v%2)*4+:4]);
    high[1] = 8'(raw[(v*16+k)*5+:5]);
    high[2] = 8'(raw[(v*16+k)*6+:6]);
    high[3] = raw[(v*16+k)*8+:8];
    low[0][7] = low[0][1];
    low[1][7] = low[1][2];
    low[2][7] = low[2][3];
    low[3][7] = low[3][3];
    high[0][7] = low[choice_low][7];
    high[1][7] = high[1][4];
    high[2][7] = high[2][5];
    sign = high[choice_high][7];
    low[0][6:2] = {5{sign}};
    low[1][6:3] = {4{sign}};
    high[0] = {sign, sign, sign, sign, low[choice_low][3:0]};
    high[1][7:5] = {3{sign}};
    high[2][7:6] = {2{sign}};
    code = high[choice_high];
    code[7] = sign;
    return code;
  endfunction

  always_ff @(posedge clk_i) begin
    if (beat_valid_i) begin
      raw_q       <= code_mem[beat_i];
      raw_index_q <= index_mem[beat_i];
    end
    if (beat1_valid_i) begin
      for (int v = 0; v < Chains; v++) begin
        for (int k = 0; k < 16; k++) begin
          code_q[v][k] <= code_of(raw_q, v, k, narrow, wide);
          if (ChainVpus == 1) begin
            index_q[v][k] <= beat1_sparse_i ? raw_index_q[v][k] : 4'(k);
          end else begin
            code1_q[v][k] <= code_of(raw_q, v + Vpus / 2, k, narrow, wide);
            index_q[v][k] <= !beat1_sparse_i ? 4'(k) : beat1_side_i ? raw_index_q[v+Vpus/2][k] : raw_index_q[v][k];
          end
        end
      end
    end
  end

  // --- scales of an operation ------------------------------------------------------------------------------------
  logic [Chains-1:0][ChainVpus-1:0][7:0] sigma_q;
  logic [Chains-1:0][11:0] mu_q;
  logic [7:0][Vpus-1:0][7:0] sigma_row;
  logic [7:0][Vpus-1:0][11:0] mu_row;
  assign sigma_row = sigma_mem[scale_i[5:3]];
  assign mu_row    = mu_mem[scale_i[5:3]];
  logic [Vpus-1:0][7:0] sigmas;
  logic [Vpus-1:0][11:0] mus;
  assign sigmas = sigma_row[scale_i[2:0]];
  assign mus    = mu_row[scale_i[2:0]];
  always_ff @(posedge clk_i) begin
    if (ce_i) begin
      for (int v = 0; v < Chains; v++) begin
        for (int l = 0; l < ChainVpus; l++) begin
          sigma_q[v][l] <= unit_scale_i ? 8'd1 : (ChainVpus == 2 && sigma_side_i[l]) ? sigmas[v+Vpus/2] : sigmas[v];
        end
        mu_q[v] <= (ChainVpus == 2 && mu_side_i) ? mus[v+Vpus/2] : mus[v];
      end
    end
  end

  // --- the VPUs --------------------------------------------------------------------------------------------------
  scale_t control;
  logic [ChainVpus-1:0][$clog2(BankEntries)-1:0] read_addr, write_addr;
  scale_control #(
      .Entries  (BankEntries),
      .ChainVpus(ChainVpus)
  ) i_control (
      .clk_i,
      .ce_i,
      .n_index_i   (op_n_index_i),
      .node_i      (op_node_i),
      .op1_valid_i,
      .op1_affine_i,
      .op1_lane_i,
      .op1_first_i,
      .op1_addr_i,
      .drain_addr_i,
      .control_o   (control),
      .read_addr_o (read_addr),
      .write_addr_o(write_addr)
  );
  for (genvar v = 0; v < Chains; v++) begin : gen_vpu
    logic [7:0][SumBits-1:0] sum_a, sum_b;
    logic [47:0] entry_a, entry_b;
    vpu #(
        .ChainVpus(ChainVpus)
    ) i_vpu (
        .clk_i,
        .ce_i,
        .win_a_i,
        .win_b_i,
        .mode_i,
        .side_i,
        .packed_i,
        .code_i (code_q[v]),
        .code1_i(code1_q[v]),
        .index_i(index_q[v]),
        .valid_i(tap_valid_i),
        .last_i (tap_last_i),
        .clear_i(tap_clear_i),
        .sum_a_o(sum_a),
        .sum_b_o(sum_b)
    );
    vpu_scale #(
        .Entries  (BankEntries),
        .ChainVpus(ChainVpus)
    ) i_scale (
        .clk_i,
        .ce_i,
        .sum_a_i     (sum_a),
        .sum_b_i     (sum_b),
        .sigma_i     (sigma_q[v]),
        .mu_i        (mu_q[v]),
        .group_sum_i,
        .control_i   (control),
        .read_addr_i (read_addr),
        .write_addr_i(write_addr),
        .entry_a_o   (entry_a),
        .entry_b_o   (entry_b)
    );
    // Side 1 has token lane 0 in bank b.
    always_ff @(posedge clk_i) begin
      if (capture_i[0]) begin
        capture_o[v] <= capture_dual_i ? (entry_a << 7) + entry_b : capture_lane_i ? entry_b : entry_a;
      end
    end
    if (ChainVpus == 2) begin : gen_side
      always_ff @(posedge clk_i) begin
        if (capture_i[1]) begin
          capture_o[v+Vpus/2] <= capture_dual_i ? (entry_a << 7) + entry_b : capture_lane_i ? entry_a : entry_b;
        end
      end
    end
  end
  if (ChainVpus == 1) begin : gen_no_side
    assign code1_q = '0;
    logic unused;
    assign unused = &{1'b0, capture_i[1], beat1_side_i, sigma_side_i, mu_side_i, 1'b0};
  end

  logic unused;
  assign unused = &{1'b0, pop_i.done, pop_i.index[7:4], 1'b0};
endmodule
