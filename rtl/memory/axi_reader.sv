// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Read side of one memory channel: three clients share an AXI4 port. A request is a number of 64-byte beats; it is cut into
// bursts that stay within 4 KB, issued round robin between clients, ARID = client. Answers of a client come in the order of
// its requests, and a client asks only for what it has room for; hold_i merely makes a gap between beats. A port narrower than
// 512 bits sends each 64-byte beat in parts, which are put together here.
//
// Weights always have something to ask for, and memory answers in order: what another client asks for waits behind their bursts
// in flight. A few of them (of 32 beats each) hide the memory's latency; more would only make the others wait.

module axi_reader #(
    parameter  int unsigned PortBits  = 512,
    parameter  int unsigned MaxBursts = 16,
    parameter  int unsigned WeightBursts = 4,  // a power of two
    localparam int unsigned Weights   = 1,
    localparam int unsigned Clients   = 3
) (
    input  logic                      clk_i,
    input  logic                      rst_ni,
    input  logic [        63:0]       base_i,       // address of the channel's memory
    input  logic [ Clients-1:0]       req_valid_i,
    input  logic [ Clients-1:0][39:0] req_addr_i,   // 64-byte aligned
    input  logic [ Clients-1:0][15:0] req_beats_i,  // at least 1
    output logic [ Clients-1:0]       req_ready_o,
    output logic [ Clients-1:0]       rvalid_o,
    output logic [       511:0]       rdata_o,      // shared by the clients
    output logic                      error_o,      // one cycle: an answer was not OKAY
    output logic                      busy_o,
    input  logic                      hold_i,       // take nothing in this cycle
    // AXI4
    output logic                      arvalid_o,
    input  logic                      arready_i,
    output logic [        63:0]       araddr_o,
    output logic [         7:0]       arlen_o,
    output logic [         3:0]       arid_o,
    input  logic                      rvalid_i,
    output logic                      rready_o,
    input  logic [PortBits-1:0]       rdata_i,
    input  logic [         3:0]       rid_i,
    input  logic [         1:0]       rresp_i,
    input  logic                      rlast_i
);
  localparam int unsigned Parts = 512 / PortBits;
  logic taken;
  assign taken = rvalid_i && !hold_i;

  // --- requests being cut into bursts ----------------------------------------------------------------------------
  logic [Clients-1:0] open_q;
  logic [Clients-1:0][39:0] addr_q;
  logic [Clients-1:0][15:0] left_q;
  logic [4:0] flying_q;
  logic [$clog2(WeightBursts):0] weights_q;  // of those in flight
  logic [Clients-1:0] may;
  logic [1:0] turn_q, chosen;
  logic any, issue;
  // Each client's next burst: up to the next 4 KB, or all that is left. Worked out for all of them side by side with the choice.
  logic [Clients-1:0][6:0] room, beats;
  logic [Clients-1:0] last;

  always_comb begin
    chosen = turn_q;
    any = 1'b0;
    may = open_q;
    if (weights_q[$clog2(WeightBursts)]) may[Weights] = 1'b0;
    for (int i = Clients - 1; i >= 0; i--) begin
      if (may[(32'(turn_q)+32'(i))%Clients]) begin
        chosen = 2'((32'(turn_q) + 32'(i)) % Clients);
        any = 1'b1;
      end
    end
    for (int i = 0; i < Clients; i++) begin
      room[i]  = 7'd64 - {1'b0, addr_q[i][11:6]};
      last[i]  = left_q[i] <= 16'(room[i]);
      beats[i] = last[i] ? left_q[i][6:0] : room[i];
    end
  end
  assign issue = any && (!arvalid_o || arready_i) && flying_q < 5'(MaxBursts);
  assign req_ready_o = ~open_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      open_q    <= '0;
      turn_q    <= '0;
      flying_q  <= '0;
      weights_q <= '0;
      arvalid_o <= 1'b0;
    end else begin
      flying_q <= flying_q + 5'(issue) - 5'(taken && rlast_i);
      weights_q <= weights_q + ($bits(weights_q))'(issue && chosen == 2'(Weights)) -
          ($bits(weights_q))'(taken && rlast_i && rid_i == 4'(Weights));
      if (arready_i) arvalid_o <= 1'b0;
      if (issue) begin
        arvalid_o <= 1'b1;
        turn_q <= chosen == 2'(Clients - 1) ? 2'd0 : chosen + 2'd1;
        if (last[chosen]) open_q[chosen] <= 1'b0;
      end
      for (int i = 0; i < Clients; i++) if (req_valid_i[i] && !open_q[i]) open_q[i] <= 1'b1;
    end
    if (issue) begin
      araddr_o <= base_i + 64'(addr_q[chosen]);
      arlen_o  <= 8'(32'(beats[chosen]) * Parts - 1);
      arid_o   <= 4'(chosen);
    end
    for (int i = 0; i < Clients; i++) begin
      if (issue && chosen == 2'(i)) begin  // the rest, if there is one, begins at a multiple of 4 KB
        addr_q[i] <= {addr_q[i][39:12] + 28'd1, 12'd0};
        left_q[i] <= left_q[i] - 16'(room[i]);
      end
      if (req_valid_i[i] && !open_q[i]) begin
        addr_q[i] <= req_addr_i[i];
        left_q[i] <= req_beats_i[i];
      end
    end
  end
  assign busy_o   = open_q != '0 || flying_q != '0;

  // --- answers ---------------------------------------------------------------------------------------------------
  assign rready_o = !hold_i;
  always_ff @(posedge clk_i) error_o <= rst_ni && taken && rresp_i != 2'b00;
  if (Parts == 1) begin : gen_whole
    always_ff @(posedge clk_i) begin
      for (int i = 0; i < Clients; i++) rvalid_o[i] <= rst_ni && taken && rid_i == 4'(i);
      if (taken) rdata_o <= rdata_i;
    end
  end else begin : gen_parts
    // answers of different clients may alternate, so each has its own collection
    logic [Clients-1:0][Parts-2:0][PortBits-1:0] kept_q;
    logic [Clients-1:0][$clog2(Parts)-1:0] part_q;
    always_ff @(posedge clk_i) begin
      for (int i = 0; i < Clients; i++) begin
        rvalid_o[i] <= 1'b0;
        if (taken && rid_i == 4'(i)) begin
          part_q[i] <= part_q[i] + 1'b1;
          if (part_q[i] == ($clog2(Parts))'(Parts - 1)) begin
            rvalid_o[i] <= rst_ni;
            rdata_o <= {rdata_i, kept_q[i]};
          end else begin
            kept_q[i][part_q[i]] <= rdata_i;
          end
        end
        if (!rst_ni) part_q[i] <= '0;
      end
    end
  end
endmodule
