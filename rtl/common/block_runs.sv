// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The runs of active blocks of a key range (docs/machine.md, "Attention over blocks"): block b of 0..last is active if b = last, or
// (b < sink or b >= first) and its mask bit is set where the mask applies. Runs come in ascending order, one at a time, the last
// one marked. A range of no keys has no run: done_o comes at once.
//
// Without a mask a run comes two cycles behind the start or, across the gap of the candidates, three behind the run before. With a
// mask its bytes are read ahead, one a cycle, and gone through a byte or an edge of a run a cycle: a run that ends in the byte
// it begins in comes six cycles behind the start, three behind the run before; each byte passed on the way takes one more.

module block_runs (
    input  logic               clk_i,
    input  logic               rst_ni,
    input  logic               start_i,    // with the operands, which stay until done_o
    input  logic signed [31:0] len_i,
    input  logic        [11:0] sink_i,
    input  logic signed [31:0] first_i,
    input  logic               masked_i,
    input  logic        [15:0] mask_i,
    output logic        [15:0] mb_addr_o,
    input  logic        [ 7:0] mb_data_i,  // two cycles after the address
    output logic               valid_o,
    output logic        [19:0] from_o,     // first block
    output logic        [19:0] to_o,       // behind the last
    output logic               last_o,
    input  logic               ready_i,
    output logic               done_o      // one cycle: no run, or the last has been taken
);
  typedef enum logic [1:0] {
    StIdle,
    StBlock,
    StScan,
    StRun
  } state_e;
  state_e state_q;

  logic [19:0] block_q, from_q, to_q, last_q, stop;
  logic gap_q;  // blocks of the range between the sink and the first
  logic [19:0] first;  // of a range that may begin before 0 or behind all blocks
  assign first = first_i < 0 ? '0 : first_i > signed'({12'd0, last_q}) ? last_q : first_i[19:0];
  logic candidate;
  assign candidate = block_q < 20'(sink_i) || signed'({12'd0, block_q}) >= first_i || block_q == last_q;
  // end of the run of candidates that begins at block_q
  assign stop = (block_q < 20'(sink_i) && gap_q) ? 20'(sink_i) : last_q + 20'd1;

  assign valid_o = state_q == StRun;
  assign from_o = from_q;
  assign to_o = to_q;
  assign last_o = to_q > last_q;

  // --- mask bytes: five are asked for and not passed at most, as many as the way there and back takes cycles --------------
  localparam int unsigned Ahead = 5;
  logic [16:0] ask_q, come_q;  // byte to ask for, the one asked for before
  logic asking_q, ask, last_ask, flying_q, coming_q;
  logic [2:0] ahead_q;
  logic [7:0] candidates_q;  // blocks of the coming byte that the mask decides over
  logic flying_last_q, at_last_q;  // the last block is in the byte on its way, in the coming one
  logic byte_valid, byte_pop, popped_q;
  logic [7:0] active, bits;
  logic at_last;
  assign last_ask = ask_q == last_q[19:3];
  assign ask = asking_q && ahead_q != 3'(Ahead);
  assign mb_addr_o = mask_i + 16'(ask_q);

  // blocks of byte b that are below the limit
  function automatic logic [7:0] below(logic [16:0] b, logic [19:0] limit);
    if (b < limit[19:3]) return 8'hff;
    return b == limit[19:3] ? ~(8'hff << limit[2:0]) : 8'h00;
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      asking_q <= 1'b0;
      flying_q <= 1'b0;
      coming_q <= 1'b0;
      ahead_q  <= '0;
      popped_q <= 1'b0;
    end else begin
      if (start_i) asking_q <= masked_i && len_i > 0;
      else if (ask && last_ask) asking_q <= 1'b0;
      flying_q <= ask;
      coming_q <= flying_q;
      popped_q <= byte_pop;
      ahead_q  <= ahead_q + 3'(ask) - 3'(popped_q);
    end
    if (start_i) ask_q <= '0;
    else if (ask) ask_q <= ask_q + 17'd1;
    come_q <= ask_q;
    candidates_q <= below(come_q, 20'(sink_i)) | ~below(come_q, first);
    flying_last_q <= last_ask;
    at_last_q <= flying_last_q;
  end

  // the bits behind the last block are set, too, so that its run has no edge there: it ends with the byte
  assign active = (mb_data_i & candidates_q) | (at_last_q ? 8'hff << last_q[2:0] : 8'd0);
  fifo #(
      .Width(9),
      .Depth(Ahead)
  ) i_bytes (
      .clk_i,
      .rst_ni,
      .in_valid_i (coming_q),
      .in_data_i  ({at_last_q, active}),
      .in_ready_o (),
      .out_valid_o(byte_valid),
      .out_data_o ({at_last, bits}),
      .out_ready_i(byte_pop),
      .count_o    ()
  );

  // --- a byte, or an edge of a run in it, a cycle ---------------------------------------------------------------------
  logic [16:0] at;  // the byte
  logic [2:0] edge_at;
  logic open_q, found;
  logic [7:0] rest_q, edges, behind;  // blocks of the byte that have not been passed; of them those from the edge on
  assign at     = block_q[19:3];
  assign edges  = (bits ^ {8{open_q}}) & rest_q;
  assign found  = edges != 8'd0;
  assign behind = edges | -edges;
  always_comb begin
    edge_at = '0;
    for (int i = 7; i >= 0; i--) if (edges[i]) edge_at = 3'(i);
  end
  assign byte_pop = state_q == StScan && byte_valid && !found;

  always_ff @(posedge clk_i) begin
    done_o <= 1'b0;
    if (!rst_ni) state_q <= StIdle;
    else begin
      unique case (state_q)
        StIdle:
        if (start_i) begin
          block_q <= '0;
          rest_q  <= '1;
          open_q  <= 1'b0;
          last_q  <= 20'((len_i - 32'sd1) >>> 6);
          gap_q   <= first_i > signed'({20'd0, sink_i}) && len_i > signed'({14'd0, sink_i, 6'd0});
          if (len_i <= 0) done_o <= 1'b1;
          else state_q <= masked_i ? StScan : StBlock;
        end
        StBlock:
        if (candidate) begin
          from_q  <= block_q;
          to_q    <= stop;
          block_q <= stop;
          state_q <= StRun;
        end else begin
          block_q <= first;
        end
        StScan:
        if (byte_valid) begin
          rest_q <= found ? behind : '1;
          if (!found) block_q[19:3] <= at + 17'd1;
          else open_q <= !open_q;
          if (!open_q) from_q <= {at, edge_at};
          to_q <= found ? {at, edge_at} : last_q + 20'd1;
          if (open_q && (found || at_last)) state_q <= StRun;
        end
        StRun:
        if (ready_i) begin
          if (last_o) begin
            done_o  <= 1'b1;
            state_q <= StIdle;
          end else begin
            state_q <= masked_i ? StScan : StBlock;
          end
        end
        default: state_q <= StIdle;
      endcase
    end
  end
endmodule
