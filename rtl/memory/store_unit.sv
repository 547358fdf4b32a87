// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Unit T: STV, STKV and XCHG, one instruction at a time. Memory writes are 64-byte beats with strobes; tokens are given when every
// channel's writer has seen its answers.
//
// One beat per channel is collected at a time, always from the same 16 x 32 bits `word`, so that each register of a beat has one
// fixed source: slot s of channel c is element e = s * Channels + c, and comes from lane e % 16. What differs between instructions is
// what stands on the word, and which registers take it:
//
//     STV     a word of VB; word w of the beat goes to the slots with e / 16 = w
//     STKV    a step of kv_append: one byte a lane (V), or 16 bytes for one channel (K, scales). From 8 channels on, fewer than four lanes
//             belong to a channel: the 16 bytes take two turns, from 16 channels on four, 4 bytes each; turns without a byte are left out
//
// XCHG streams this core's words to the exchange when it is its turn, and writes what comes from there. VB words of STV and XCHG are
// read ahead into one FIFO.

module store_unit #(
    parameter int unsigned Channels = 4
) (
    input  logic                                               clk_i,
    input  logic                                               rst_ni,
    input  logic                                               op_valid_i,
    input  flightllm_isa_pkg::dispatch_t                       op_i,
    output logic                                               op_ready_o,
    output logic                                               take_valid_o,
    output logic                         [         3:0]        take_mask_o,
    input  logic                                               take_ready_i,
    output logic                                               give_valid_o,
    output logic                         [         3:0]        give_mask_o,
    output logic                                               idle_o,
    // vector buffer
    output logic                                               rd_valid_o,
    output logic                         [        19:0]        rd_addr_o,
    input  logic                                               rd_ready_i,
    input  logic                                               rd_rvalid_i,
    input  logic                         [        15:0][ 31:0] rd_rdata_i,
    output logic                                               vb_wr_valid_o,
    output logic                         [        19:0]        vb_wr_addr_o,
    output logic                         [        15:0][ 31:0] vb_wr_data_o,
    input  logic                                               vb_wr_ready_i,
    // activation buffer
    output logic                                               ab_valid_o,
    output logic                         [        19:0]        ab_addr_o,
    input  logic                                               ab_ready_i,
    input  logic                                               ab_rvalid_i,
    input  logic                         [       127:0]        ab_data_i,
    // writers of the channels
    output logic                         [Channels-1:0]        wr_valid_o,
    output logic                         [        39:0]        wr_addr_o,
    output logic                         [Channels-1:0][511:0] wr_data_o,
    output logic                         [        63:0]        wr_strb_o,
    input  logic                         [Channels-1:0]        wr_ready_i,
    input  logic                         [Channels-1:0]        wr_busy_i,
    // exchange between cores
    output logic                                               x_want_o,       // at an XCHG
    output logic                         [        31:0]        x_words_o,      // words of each core's part
    input  logic                                               x_turn_i,       // send now
    output logic                                               x_out_valid_o,
    output logic                         [        15:0][ 31:0] x_out_data_o,
    input  logic                                               x_out_ready_i,
    input  logic                                               x_in_valid_i,
    input  logic                         [        15:0][ 31:0] x_in_data_i,
    input  logic                         [         1:0]        x_in_core_i,
    output logic                                               x_in_ready_o,
    input  logic                                               x_in_accept_i,  // all cores have taken the word
    input  logic                                               x_end_i         // all parts have been sent
);
  import flightllm_isa_pkg::*;
  localparam int unsigned LogC = $clog2(Channels);
  localparam int unsigned LogKeySlots = $clog2(key_slots(Channels));
  localparam int unsigned Parts = (Channels > 16) ? Channels / 16 : 1;
  localparam int unsigned Turns = (Channels >= 16) ? 4 : (Channels == 8) ? 2 : 1;
  localparam int unsigned WordWidth = (Channels > 1) ? LogC : 1;
  localparam int unsigned Room = 8;

  typedef enum logic [3:0] {
    StIdle,
    StDecode,
    StTake,
    StProducts,
    StVector,
    StAppend,
    StExchange,
    StDrain,
    StGive
  } state_e;
  state_e state_q;

  dispatch_t op_q;
  logic [5:0] opcode;
  stv_op_t stv;
  stkv_op_t kv;
  xchg_op_t xc;
  assign opcode = op_q.inst[5:0];
  assign stv = stv_op(op_q);
  assign kv = stkv_op(op_q);
  assign xc = xchg_op(op_q);

  // --- products of operands: while the instruction waits for its tokens -------------------------------------------
  // STKV: place of the first position's unit, and of its slot's scales; XCHG: words of a part
  logic [2:0] step_q;
  logic [39:0] product, codes_at_q, scales_at_q;
  logic products_done;
  logic signed [31:0] factor;
  logic [39:0] times, plus;
  assign products_done = step_q == 3'd7;
  always_comb begin
    factor = kv.pos >>> (kv.kind == 1'(StkvKindV) ? 4 : LogC + LogKeySlots);
    times  = 40'(kv.unit_bytes);
    plus   = kv.addr;
    if (opcode == OpXchg) begin
      factor = xc.n0;
      times  = 40'(xc.n);
      plus   = '0;
    end else if (step_q != '0) begin
      factor = kv.pos >>> LogC;
      times  = 40'({kv.n1, 1'b0});
      plus   = kv.scales;
    end
  end
  multiply_add i_products (
      .clk_i,
      .a_i  (factor),
      .b_i  (times),
      .c_i  (plus),
      .sum_o(product)
  );
  always_ff @(posedge clk_i) begin
    if (state_q == StIdle) step_q <= '0;
    else if (!products_done) step_q <= step_q + 3'd1;
    if (step_q == 3'd4) codes_at_q <= product;
    if (step_q == 3'd5) scales_at_q <= product;
  end

  // --- words of VB (STV, XCHG): rows of words, read ahead ----------------------------------------------------------
  logic [31:0] a_rows_q;  // rows left
  logic a_more_q;  // there are
  logic [19:0] a_words_q, a_left_q;  // words of a row, and left of this one
  logic [19:0] a_at_q, a_row_q, a_step_q;  // word, first word of the row, from row to row
  logic [3:0] used_q;  // words asked for that have not left the FIFO
  logic asked, popped, f_valid, f_ready;
  logic [15:0][31:0] f_data;
  assign rd_valid_o = a_more_q && used_q < 4'(Room) && (state_q == StVector || x_turn_i);
  assign rd_addr_o = a_at_q;
  assign asked = rd_valid_o && rd_ready_i;
  assign popped = f_valid && f_ready;
  fifo #(
      .Width(512),
      .Depth(Room)
  ) i_words (
      .clk_i,
      .rst_ni,
      .in_valid_i (rd_rvalid_i),
      .in_data_i  (rd_rdata_i),
      .in_ready_o (),
      .out_valid_o(f_valid),
      .out_data_o (f_data),
      .out_ready_i(f_ready),
      .count_o    ()
  );
  logic take, nothing, nothing_q;
  logic [31:0] row_words;
  assign take = state_q == StTake && take_ready_i;
  assign row_words = ((32'(stv.slots) << LogC) + 32'd15) >> 4;
  always_ff @(posedge clk_i) begin
    if (asked != popped) used_q <= asked ? used_q + 4'd1 : used_q - 4'd1;
    if (take) begin
      a_rows_q  <= opcode == OpStv ? stv.rows : xc.n0;
      a_more_q  <= !nothing_q && opcode != OpStkv;
      a_words_q <= opcode == OpStv ? 20'(row_words) : xc.n;
      a_left_q  <= opcode == OpStv ? 20'(row_words) : xc.n;
      a_at_q    <= opcode == OpStv ? stv.src : xc.src;
      a_row_q   <= opcode == OpStv ? stv.src : xc.src;
      a_step_q  <= opcode == OpStv ? stv.src_row : xc.src_row;
    end else if (asked) begin
      a_at_q   <= a_at_q + 20'd1;
      a_left_q <= a_left_q - 20'd1;
      if (a_left_q == 20'd1) begin
        a_at_q   <= a_row_q + a_step_q;
        a_row_q  <= a_row_q + a_step_q;
        a_left_q <= a_words_q;
        a_rows_q <= a_rows_q - 32'd1;
        a_more_q <= a_rows_q != 32'd1;
      end
    end
    if (!rst_ni) begin
      used_q   <= '0;
      a_more_q <= 1'b0;
    end
  end

  // --- STV: where the next word belongs ---------------------------------------------------------------------------
  logic [31:0] v_rows_q;
  logic [19:0] v_left_q;  // slots of the row from this beat on
  logic [WordWidth-1:0] v_word_q, v_last_word;  // word of the beat
  logic [39:0] v_row_q;  // the row in memory
  logic [33:0] v_beat_q;
  logic [39:0] v_next_row;
  logic v_full, v_last, v_row_last;
  assign v_full = v_left_q[19:4] != '0;
  assign v_row_last = v_left_q <= 20'd16;
  // its words: all, or up to the last slot
  assign v_last_word = v_full ? WordWidth'(Channels - 1) :
      WordWidth'((((32'(v_left_q[3:0]) << LogC) + 32'd15) >> 4) - 32'd1);
  assign v_last = v_word_q == v_last_word;
  assign v_next_row = v_row_q + 40'(stv.row);
  always_ff @(posedge clk_i) begin
    if (take) begin
      v_rows_q <= stv.rows;
      v_left_q <= stv.slots;
      v_word_q <= '0;
      v_row_q  <= stv.addr;
      v_beat_q <= stv.addr[39:6];
    end else if (state_q == StVector && popped) begin
      v_word_q <= v_word_q + WordWidth'(1);
      if (v_last) begin
        v_word_q <= '0;
        v_left_q <= v_left_q - 20'd16;
        v_beat_q <= v_beat_q + 34'd1;
        if (v_row_last) begin
          v_left_q <= stv.slots;
          v_row_q  <= v_next_row;
          v_beat_q <= v_next_row[39:6];
          v_rows_q <= v_rows_q - 32'd1;
        end
      end
    end
  end

  // --- STKV --------------------------------------------------------------------------------------------------------
  logic kv_start, kv_idle, kv_valid;
  store_pkg::step_t kv_step;
  logic load_ready, turn_last;
  kv_append #(
      .Channels(Channels)
  ) i_append (
      .clk_i,
      .rst_ni,
      .op_i        (kv),
      .start_i     (kv_start),
      .codes_at_i  (codes_at_q),
      .scales_at_i (scales_at_q),
      .idle_o      (kv_idle),
      .ab_valid_o,
      .ab_addr_o,
      .ab_ready_i,
      .ab_rvalid_i,
      .ab_data_i,
      .step_valid_o(kv_valid),
      .step_o      (kv_step),
      .step_ready_i(load_ready && turn_last)
  );

  // --- the word, and what takes it ---------------------------------------------------------------------------------
  logic load_valid_q, load_first_q, load_last_q;
  logic [15:0][31:0] word_q;
  logic [63:0] low_q, high_q;  // nibbles of each channel's beat that are written
  logic [Channels-1:0] of_q;  // words of the beat (STV) that take it
  logic [33:0] load_beat_q;
  logic [Channels-1:0] load_to_q;  // channels that the beat is for
  logic [63:0] stv_strb, kv_strb;
  logic go;
  // turns of a step: the lowest of those left
  logic [Turns-1:0] turns, turns_left, turns_done_q, turn;
  always_comb begin
    for (int t = 0; t < Turns; t++) turns[t] = kv_step.mask[16/Turns*t+:16/Turns] != '0 && !kv_step.spread;
    turns_left = turns & ~turns_done_q;
    turn = turns_left & (~turns_left + Turns'(1));
    turn_last = turns_left == turn;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) turns_done_q <= '0;
    else if (load_ready && kv_valid) turns_done_q <= turn_last ? '0 : turns_done_q | turn;
  end
  for (genvar x = 0; x < 64; x++) begin : gen_strb
    assign stv_strb[x] = 5'(x / 4) < {v_full, v_left_q[3:0]};
    assign kv_strb[x]  = kv_step.chunk == 2'(x / 16) && kv_step.mask[x%16] && (kv_step.spread || turn[x%16*Turns/16]);
  end
  assign load_ready = !load_valid_q || go;
  assign f_ready = state_q == StVector ? load_ready : x_out_ready_i;
  always_ff @(posedge clk_i) begin
    if (load_ready) begin
      load_valid_q <= kv_valid || (state_q == StVector && f_valid);
      if (state_q == StVector) begin
        word_q       <= f_data;
        low_q        <= stv_strb;
        high_q       <= stv_strb;
        of_q         <= Channels'(1) << v_word_q;
        load_beat_q  <= v_beat_q;
        load_first_q <= v_word_q == '0;
        load_last_q  <= v_last;
        load_to_q    <= '1;
      end else begin
        for (int l = 0; l < 16; l++) begin
          for (int b = 0; b < 4; b++) begin
            // slot % 4 of the registers that lane l feeds: all of them in turn, or the one that follows from the lane
            automatic logic [7:0] here = kv_step.data[4*(l/Channels%4)+b];
            if (Turns > 1) begin
              here = '0;
              for (int t = 0; t < Turns; t++) if (turn[t]) here |= kv_step.data[4*((l/Channels+4/Turns*t)%4)+b];
            end
            word_q[l][8*b+:8] <= kv_step.spread ? kv_step.data[l] : here;
          end
        end
        low_q  <= kv_step.low ? kv_strb : '0;
        high_q <= kv_strb;
        for (int w = 0; w < Channels; w++) of_q[w] <= !kv_step.spread || 2'(w % Parts) == kv_step.part;
        load_beat_q  <= kv_step.beat;
        load_first_q <= kv_step.first && turns_done_q == '0;
        load_last_q  <= kv_step.last && turn_last;
        load_to_q    <= kv_step.all ? '1 : Channels'(1) << kv_step.channel;
      end
    end
    if (!rst_ni) load_valid_q <= 1'b0;
  end

  // --- the beats ---------------------------------------------------------------------------------------------------
  logic [Channels-1:0][15:0][31:0] beat_q;
  logic [63:0] strb_q;
  logic [33:0] addr_q;
  logic [Channels-1:0] todo_q;  // channels that have not taken the beat
  logic written;
  // With many channels it is known a cycle late whether all have taken the beat: a beat has more words, or turns, than that.
  logic written_q;
  always_ff @(posedge clk_i) written_q <= !(go && load_last_q) && (todo_q & ~wr_ready_i) == '0;
  assign written = (Channels > 8) ? written_q : (todo_q & ~wr_ready_i) == '0;
  assign go = load_valid_q && written;
  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    for (genvar s = 0; s < 16; s++) begin : gen_slot
      localparam int unsigned E = s * Channels + c;
      always_ff @(posedge clk_i) begin
        for (int b = 0; b < 4; b++) begin
          if (go && of_q[E/16] && low_q[4*s+b]) beat_q[c][s][8*b+:4] <= word_q[E%16][8*b+:4];
          if (go && of_q[E/16] && high_q[4*s+b]) beat_q[c][s][8*b+4+:4] <= word_q[E%16][8*b+4+:4];
        end
      end
    end
  end
  always_ff @(posedge clk_i) begin
    todo_q <= todo_q & ~wr_ready_i;
    if (go) begin
      strb_q <= (load_first_q ? '0 : strb_q) | high_q;
      addr_q <= load_beat_q;
      if (load_last_q) todo_q <= load_to_q;
    end
    if (!rst_ni) todo_q <= '0;
  end
  assign wr_valid_o = todo_q;
  assign wr_addr_o  = {addr_q, 6'd0};
  assign wr_data_o  = beat_q;
  assign wr_strb_o  = strb_q;

  // --- exchange ----------------------------------------------------------------------------------------------------
  logic [31:0] in_rows_q;  // rows of the part left
  logic [19:0] in_left_q;  // words of the row left
  logic [19:0] in_at_q, in_row_q, in_next_row;  // word, first word of the row: core 0's part
  logic [3:0][19:0] in_core_q;  // offset of each core's part
  assign x_want_o = state_q == StExchange;
  assign x_words_o = nothing_q ? 32'd0 : codes_at_q[31:0];
  assign x_out_valid_o = f_valid && state_q == StExchange;
  assign x_out_data_o = f_data;
  assign vb_wr_valid_o = state_q == StExchange && x_in_valid_i;
  assign vb_wr_addr_o = in_at_q + in_core_q[x_in_core_i];
  assign vb_wr_data_o = x_in_data_i;
  assign x_in_ready_o = state_q == StExchange && vb_wr_ready_i;
  assign in_next_row = in_row_q + xc.dst_row;
  always_ff @(posedge clk_i) begin
    for (int k = 0; k < 4; k++) in_core_q[k] <= 20'(k * 32'(xc.n));
    if (take) begin
      in_rows_q <= xc.n0;
      in_left_q <= xc.n;
      in_at_q   <= xc.dst;
      in_row_q  <= xc.dst;
    end else if (x_in_accept_i) begin
      in_at_q   <= in_at_q + 20'd1;
      in_left_q <= in_left_q - 20'd1;
      if (in_left_q == 20'd1) begin
        in_left_q <= xc.n;
        in_at_q   <= in_next_row;
        in_row_q  <= in_next_row;
        in_rows_q <= in_rows_q - 32'd1;
        if (in_rows_q == 32'd1) begin  // the next core's part
          in_rows_q <= xc.n0;
          in_at_q   <= xc.dst;
          in_row_q  <= xc.dst;
        end
      end
    end
  end

  // --- control -----------------------------------------------------------------------------------------------------
  assign op_ready_o = state_q == StIdle;
  assign take_valid_o = state_q == StTake;
  assign take_mask_o = op_q.inst[9:6];
  assign give_valid_o = state_q == StGive;
  assign give_mask_o = op_q.inst[13:10];
  assign idle_o = state_q == StIdle && !op_valid_i;
  assign kv_start = state_q == StProducts && products_done && opcode == OpStkv && !nothing_q;
  always_comb begin
    unique case (opcode)
      OpStv:   nothing = stv.rows <= 0 || stv.slots == '0;
      OpStkv:  nothing = kv.n0 <= 0 || kv.n1 == '0;
      default: nothing = xc.n0 <= 0 || xc.n == '0;
    endcase
  end
  always_ff @(posedge clk_i) begin
    nothing_q <= nothing;
    if (!rst_ni) state_q <= StIdle;
    else begin
      unique case (state_q)
        StIdle:
        if (op_valid_i) begin
          op_q    <= op_i;
          state_q <= StDecode;
        end
        StDecode: state_q <= StTake;
        StTake:
        if (take_ready_i) state_q <= opcode == OpStv ? (nothing_q ? StDrain : StVector) : StProducts;
        StProducts:
        if (products_done) state_q <= opcode == OpXchg ? StExchange : nothing_q ? StDrain : StAppend;
        StVector: if (v_rows_q == '0 && !load_valid_q && todo_q == '0) state_q <= StDrain;
        StAppend: if (kv_idle && !load_valid_q && todo_q == '0) state_q <= StDrain;
        StExchange: if (x_end_i) state_q <= StGive;
        StDrain: if (wr_busy_i == '0) state_q <= StGive;
        StGive: state_q <= StIdle;
        default: state_q <= StIdle;
      endcase
    end
  end
endmodule
