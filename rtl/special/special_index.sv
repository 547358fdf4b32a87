// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// What a pass of the special-function unit goes through: for each vector of the batch, in order, a header slot (passes that make
// codes), then its words: 0 .. words - 1, or those of the active blocks. A vector without words has one empty slot instead, or its
// header alone. Vector v comes when v < allowed_i. Runs of blocks are found for the next vector while this one is walked.

module special_index (
    input  logic                      clk_i,
    input  logic                      rst_ni,
    input  logic                      start_i,          // a pass begins; operands stay until done_o
    input  logic                      header_i,
    input  logic                      runs_i,           // words of active blocks only
    input  logic               [31:0] words_i,          // of a vector
    input  logic               [ 5:0] vectors_i,        // of the batch, as far as they are known
    input  logic                      vectors_valid_i,  // that is all of them
    input  logic               [ 5:0] allowed_i,
    output logic                      done_o,           // all slots have been taken
    // active blocks
    input  logic signed        [31:0] len_i,
    input  logic               [11:0] sink_i,
    input  logic signed        [31:0] first_i,
    input  logic                      masked_i,
    input  logic               [15:0] mask_i,
    output logic               [15:0] mb_addr_o,
    input  logic               [ 7:0] mb_data_i,
    // slots
    output logic                      valid_o,
    output special_pkg::slot_t        slot_o,
    input  logic                      ready_i
);
  logic busy_q, headed_q, first_q;
  logic [ 5:0] vec_q;
  logic [19:0] index_q;

  // --- runs of blocks --------------------------------------------------------------------------------------------
  logic run_start, run_valid, run_take, run_last, run_done;
  logic [19:0] run_from, run_to;
  logic open_q, open_last_q, walking_q;  // a run is being gone through; the finder is at work
  logic [19:0] end_q, last_word_q;  // last word of the run, of the vector
  logic none_q;  // vectors have no words
  logic [5:0] started_q;  // vectors for which runs have been asked
  block_runs i_runs (
      .clk_i,
      .rst_ni,
      .start_i(run_start),
      .len_i,
      .sink_i,
      .first_i,
      .masked_i,
      .mask_i,
      .mb_addr_o,
      .mb_data_i,
      .valid_o(run_valid),
      .from_o (run_from),
      .to_o   (run_to),
      .last_o (run_last),
      .ready_i(run_take),
      .done_o (run_done)
  );
  assign run_start = busy_q && runs_i && !none_q && !walking_q && started_q < vectors_i;
  assign run_take  = run_valid && !open_q;

  // --- slots -----------------------------------------------------------------------------------------------------
  logic empty, header, run_end;
  assign empty   = none_q;
  assign header  = header_i && !headed_q;
  assign run_end = index_q == (runs_i ? end_q : last_word_q);
  assign valid_o = busy_q && vec_q < allowed_i && (header || empty || !runs_i || open_q);
  always_comb begin
    slot_o.vec    = vec_q[4:0];
    slot_o.index  = index_q;
    slot_o.header = header;
    slot_o.empty  = !header && empty;
    slot_o.first  = first_q;
    slot_o.last   = empty || (!header && run_end && (!runs_i || open_last_q));
  end
  assign done_o = busy_q && vectors_valid_i && vec_q == vectors_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q    <= 1'b0;
      open_q    <= 1'b0;
      walking_q <= 1'b0;
    end else begin
      if (run_start) begin
        walking_q <= 1'b1;
        started_q <= started_q + 6'd1;
      end
      if (run_done) walking_q <= 1'b0;
      if (run_take) begin
        open_q      <= 1'b1;
        open_last_q <= run_last;
        index_q     <= run_from << 2;
        end_q       <= run_last ? last_word_q : {run_to[17:0] - 18'd1, 2'b11};
      end
      if (valid_o && ready_i) begin
        if (slot_o.last) begin
          vec_q    <= vec_q + 6'd1;
          index_q  <= '0;
          headed_q <= 1'b0;
          first_q  <= 1'b1;
          open_q   <= 1'b0;
        end else begin
          first_q <= 1'b0;
          if (header) begin
            headed_q <= 1'b1;
          end else begin
            index_q <= index_q + 20'd1;
            if (run_end) open_q <= 1'b0;
          end
        end
      end
      if (done_o) busy_q <= 1'b0;
      if (start_i) begin
        busy_q      <= 1'b1;
        vec_q       <= '0;
        index_q     <= '0;
        headed_q    <= 1'b0;
        first_q     <= 1'b1;
        open_q      <= 1'b0;
        started_q   <= '0;
        none_q      <= words_i == 0;
        last_word_q <= words_i[19:0] - 20'd1;
      end
    end
  end
endmodule
