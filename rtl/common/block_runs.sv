// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// The runs of active blocks of a key range (docs/machine.md, "Attention over blocks"): block b of 0..last is active if b = last, or
// (b < sink or b >= first) and its mask bit is set where the mask applies. Runs come in ascending order, one at a time, the last
// one marked. A range of no keys has no run: done_o comes at once. Mask bytes are read from the mask buffer, two cycles
// after the address; a masked block takes four cycles, an unmasked run one.

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
    input  logic        [ 7:0] mb_data_i,
    output logic               valid_o,
    output logic        [19:0] from_o,     // first block
    output logic        [19:0] to_o,       // behind the last
    output logic               last_o,
    input  logic               ready_i,
    output logic               done_o      // one cycle: no run, or the last has been taken
);
  typedef enum logic [2:0] {
    StIdle,
    StBlock,
    StMask0,
    StMask1,
    StMask2,
    StRun
  } state_e;
  state_e state_q;

  logic [19:0] block_q, from_q, to_q, last_q, stop;
  logic gap_q;  // blocks of the range between the sink and the first
  logic open_q, candidate;
  logic candidate_q, at_last_q;  // of block_q, while its mask bit is read
  assign candidate = block_q < 20'(sink_i) || signed'({12'd0, block_q}) >= first_i || block_q == last_q;
  // end of the run of candidates that begins at block_q
  assign stop = (block_q < 20'(sink_i) && gap_q) ? 20'(sink_i) : last_q + 20'd1;

  assign mb_addr_o = mask_i + 16'(block_q >> 3);
  assign valid_o = state_q == StRun;
  assign from_o = from_q;
  assign to_o = to_q;
  assign last_o = to_q > last_q;

  always_ff @(posedge clk_i) begin
    done_o <= 1'b0;
    if (!rst_ni) state_q <= StIdle;
    else begin
      unique case (state_q)
        StIdle:
        if (start_i) begin
          block_q <= '0;
          open_q  <= 1'b0;
          last_q  <= 20'((len_i - 32'sd1) >>> 6);
          gap_q   <= first_i > signed'({20'd0, sink_i}) && len_i > signed'({14'd0, sink_i, 6'd0});
          if (len_i <= 0) done_o <= 1'b1;
          else state_q <= StBlock;
        end
        StBlock: begin
          if (masked_i) begin
            state_q <= StMask0;
          end else if (candidate) begin
            from_q  <= block_q;
            to_q    <= stop;
            block_q <= stop;
            state_q <= StRun;
          end else begin
            block_q <= first_i > signed'({12'd0, last_q}) ? last_q : first_i[19:0];
          end
        end
        StMask0: begin
          candidate_q <= candidate;
          at_last_q   <= block_q == last_q;
          state_q     <= StMask1;
        end
        StMask1: state_q <= StMask2;
        StMask2: begin
          block_q <= block_q + 20'd1;
          state_q <= StBlock;
          if ((candidate_q && mb_data_i[block_q[2:0]]) || at_last_q) begin
            open_q <= 1'b1;
            if (!open_q) from_q <= block_q;
            if (at_last_q) begin
              to_q <= last_q + 20'd1;
              state_q <= StRun;
            end
          end else if (open_q) begin
            to_q <= block_q;
            state_q <= StRun;
          end
        end
        StRun:
        if (ready_i) begin
          open_q <= 1'b0;
          if (last_o) begin
            done_o  <= 1'b1;
            state_q <= StIdle;
          end else begin
            state_q <= StBlock;
          end
        end
        default: state_q <= StIdle;
      endcase
    end
  end
endmodule
