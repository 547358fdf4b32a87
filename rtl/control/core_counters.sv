// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Performance counters of one core: cycles of each event of each unit (flightllm_control_pkg), bytes read and written per
// channel. Cleared by clear_i, counting while run_i. An event appears in the count two cycles later.

module core_counters #(
    parameter int unsigned Channels = 4,
    parameter int unsigned PortBits = 512,
    localparam int unsigned PortBytes = PortBits / 8,
    localparam int unsigned Units = flightllm_control_pkg::Units,
    localparam int unsigned Events = flightllm_control_pkg::Events
) (
    input  logic                                    clk_i,
    input  logic                                    clear_i,
    input  logic                                    run_i,
    input  logic [Units-1:0][Events-1:0]            events_i,
    input  logic [Channels-1:0]                     read_i,           // a beat is taken: rvalid && rready
    input  logic [Channels-1:0]                     write_i,          // a beat is taken: wvalid && wready
    input  logic [Channels-1:0][PortBytes-1:0]      strb_i,           // of that beat
    output logic [Units-1:0][Events-1:0][63:0]      counters_o,
    output logic [Channels-1:0][63:0]               read_bytes_o,
    output logic [Channels-1:0][63:0]               written_bytes_o
);
  localparam int unsigned SumWidth = $clog2(PortBytes + 1);

  logic clear_q;
  logic [Units-1:0][Events-1:0] events_q;
  logic [Channels-1:0] read_q, write_q;
  logic [Channels-1:0][SumWidth-1:0] sum_q;

  always_ff @(posedge clk_i) begin
    clear_q  <= clear_i;
    events_q <= run_i ? events_i : '0;
    read_q   <= run_i ? read_i : '0;
    write_q  <= run_i ? write_i : '0;
    for (int u = 0; u < Units; u++) begin
      for (int e = 0; e < Events; e++) begin
        if (clear_q) counters_o[u][e] <= '0;
        else if (events_q[u][e]) counters_o[u][e] <= counters_o[u][e] + 64'd1;
      end
    end
    for (int c = 0; c < Channels; c++) begin
      if (write_i[c]) sum_q[c] <= SumWidth'($countones(strb_i[c]));
      if (clear_q) read_bytes_o[c] <= '0;
      else if (read_q[c]) read_bytes_o[c] <= read_bytes_o[c] + 64'(PortBytes);
      if (clear_q) written_bytes_o[c] <= '0;
      else if (write_q[c]) written_bytes_o[c] <= written_bytes_o[c] + 64'(sum_q[c]);
    end
  end
endmodule
