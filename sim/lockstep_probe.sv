// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Simulation only: tells the harness what a core does, for the comparison in lock step (docs/lockstep.md). Bound to
// flightllm_core in builds that ask for it; nothing in rtl/ knows of it. Kinds of events: flightllm/sim/events.py.

module lockstep_probe #(
    parameter int unsigned Channels = 4,
    parameter int unsigned VbWrites = 4
) (
    input logic                                                     clk_i,
    input logic                                                     rst_ni,
    input logic                         [        31:0]              core_i,
    // dispatch
    input logic                         [        31:0]              pc_i,
    input logic                         [         4:0]              queue_valid_i,
    input logic                         [         4:0]              queue_ready_i,
    input flightllm_isa_pkg::dispatch_t                             queue_data_i,
    // instructions get their tokens, and end: L, M, S, T
    input logic                         [         3:0]              take_valid_i,
    input logic                         [         3:0]              take_ready_i,
    input logic                         [         3:0]              give_valid_i,
    // vector buffer: M, L, S, T
    input logic                         [VbWrites-1:0]              vb_valid_i,
    input logic                         [VbWrites-1:0]              vb_ready_i,
    input logic                         [VbWrites-1:0][ 19:0]       vb_addr_i,
    input logic                         [VbWrites-1:0][ 15:0][31:0] vb_data_i,
    input logic                         [VbWrites-1:0][ 15:0]       vb_mask_i,
    // activation buffer: S
    input logic                                                     ab_valid_i,
    input logic                         [        19:0]              ab_addr_i,
    input logic                         [         1:0][127:0]       ab_data_i,
    input logic                         [         1:0]              ab_mask_i,
    // mask buffer: L
    input logic                                                     mb_we_i,
    input logic                         [        15:0]              mb_addr_i,
    input logic                         [         7:0]              mb_data_i,
    // rings: W per channel, K in all channels alike
    input logic                         [Channels-1:0][  2:0]       rd_rvalid_i,
    input logic                         [Channels-1:0][511:0]       rd_rdata_i,
    input logic                                                     push_valid_i,
    input logic                         [Channels-1:0][  7:0][63:0] push_data_i,
    input logic                         [         2:0]              push_first_i,
    input logic                         [         3:0]              push_count_i
);
  import flightllm_isa_pkg::*;
  import "DPI-C" function void flightllm_event(
    input int kind,
    input int core,
    input int unit,
    input int channel,
    input longint addr,
    input longint mask,
    input bit [511:0] data
  );
  localparam int Dispatch = 0;
  localparam int Operands = 1;
  localparam int End = 2;
  localparam int Vb = 3;
  localparam int Ab = 4;
  localparam int Mb = 5;
  localparam int WRing = 6;
  localparam int KRing = 7;
  localparam int Take = 9;
  localparam int RdWeights = 1;  // client of axi_reader

  function automatic int unit_of_client(int client);  // write clients of the vector buffer
    unique case (client)
      0:       return 32'(UnitM);
      1:       return 32'(UnitL);
      2:       return 32'(UnitS);
      default: return 32'(UnitT);
    endcase
  endfunction

  int core;
  assign core = int'(core_i);
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      for (int i = 0; i < VbWrites; i++) begin
        if (vb_valid_i[i] && vb_ready_i[i]) begin
          flightllm_event(Vb, core, unit_of_client(i), 0, 64'(vb_addr_i[i]), 64'(vb_mask_i[i]), vb_data_i[i]);
        end
      end
      if (ab_valid_i) flightllm_event(Ab, core, 32'(UnitS), 0, 64'(ab_addr_i), 64'(ab_mask_i), 512'(ab_data_i));
      if (mb_we_i) flightllm_event(Mb, core, 32'(UnitL), 0, 64'(mb_addr_i), 64'd1, 512'(mb_data_i));
      for (int c = 0; c < Channels; c++) begin
        if (rd_rvalid_i[c][RdWeights]) flightllm_event(WRing, core, 32'(UnitW), c, 64'd0, 64'd8, rd_rdata_i[c]);
        if (push_valid_i) begin
          flightllm_event(KRing, core, 32'(UnitL), c, 64'(push_first_i), 64'(push_count_i), push_data_i[c]);
        end
      end
      for (int u = 0; u < 4; u++) begin
        if (take_valid_i[u] && take_ready_i[u]) flightllm_event(Take, core, u, 0, 64'd0, 64'd0, '0);
      end
      for (int u = 0; u < 4; u++) if (give_valid_i[u]) flightllm_event(End, core, u, 0, 64'd0, 64'd0, '0);
      for (int u = 0; u < 5; u++) begin
        if (queue_valid_i[u] && queue_ready_i[u]) begin
          flightllm_event(Dispatch, core, u, 0, 64'(pc_i), 64'd0, queue_data_i.inst);
          flightllm_event(Operands, core, u, 0, 64'(pc_i), 64'd0, 512'(queue_data_i.res));
        end
      end
    end
  end
endmodule

bind flightllm_core lockstep_probe #(
    .Channels(Channels),
    .VbWrites(VbWrites)
) i_lockstep_probe (
    .clk_i,
    .rst_ni,
    .core_i,
    .pc_i         (pc),
    .queue_valid_i(q_in_valid),
    .queue_ready_i(q_in_ready),
    .queue_data_i (q_in),
    .take_valid_i (take_valid),
    .take_ready_i (take_ready),
    .give_valid_i (give_valid),
    .vb_valid_i   (vw_valid),
    .vb_ready_i   (vw_ready),
    .vb_addr_i    (vw_addr),
    .vb_data_i    (vw_data),
    .vb_mask_i    (vw_mask),
    .ab_valid_i   (ab_wr_valid),
    .ab_addr_i    (ab_wr_addr),
    .ab_data_i    (ab_wr_data),
    .ab_mask_i    (ab_wr_mask),
    .mb_we_i      (mb_we),
    .mb_addr_i    (mb_waddr),
    .mb_data_i    (mb_wdata),
    .rd_rvalid_i  (rd_rvalid),
    .rd_rdata_i   (rd_rdata),
    .push_valid_i (push_valid),
    .push_data_i  (push_data),
    .push_first_i (push_first),
    .push_count_i (push_count)
);
