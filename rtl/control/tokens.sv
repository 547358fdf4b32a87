// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Dependency tokens between the units L, M, S and T: a counter for each ordered pair (docs/machine.md). A unit takes
// one token of every source in its mask, all in one cycle, and gives one to every unit in its mask when an instruction
// has ended.

module tokens (
    input  logic                 clk_i,
    input  logic                 rst_ni,
    input  logic [3:0]           take_valid_i,  // [unit]
    input  logic [3:0][3:0]      take_mask_i,   // [unit][source]
    output logic [3:0]           take_ready_o,
    input  logic [3:0]           give_valid_i,  // [unit]
    input  logic [3:0][3:0]      give_mask_i,   // [unit][destination]
    output logic                 none_o,        // every counter is zero
    output logic [3:0][3:0][7:0] count_o        // [source][destination]
);
  logic [3:0][3:0][7:0] count_q;
  always_comb begin
    for (int d = 0; d < 4; d++) begin
      take_ready_o[d] = 1'b1;
      for (int s = 0; s < 4; s++) if (take_mask_i[d][s] && count_q[s][d] == 0) take_ready_o[d] = 1'b0;
    end
  end
  always_ff @(posedge clk_i) begin
    for (int s = 0; s < 4; s++) begin
      for (int d = 0; d < 4; d++) begin
        count_q[s][d] <= count_q[s][d] + 8'(give_valid_i[s] && give_mask_i[s][d]) -
            8'(take_valid_i[d] && take_ready_o[d] && take_mask_i[d][s]);
        if (!rst_ni) count_q[s][d] <= '0;
        assert (!rst_ni || !(give_valid_i[s] && give_mask_i[s][d] && count_q[s][d] == 8'hff))
        else $error("token counter overflows");
      end
    end
  end
  assign none_o  = count_q == '0;
  assign count_o = count_q;
endmodule
