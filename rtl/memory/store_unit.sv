// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Unit T: STV, STKV and XCHG, one instruction at a time. Memory writes are 64-byte beats with strobes; tokens are given when every
// channel's writer has seen its answers.
//
// STV collects C words of VB into one beat of 16 slots per channel. STKV reads one AB row (a token's head) and writes its
// codes: K on one channel, 16 of every 16 x KeySlots; V on all channels, every sixteenth byte (docs/streams.md, "KV cache"); then
// the scale as bf16. XCHG streams this core's words to the exchange when it is its turn, and writes what comes from there.

module store_unit #(
    parameter int unsigned Channels = 4,
    parameter int unsigned MaxHead  = 256  // codes of an STKV row
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
  localparam int unsigned KeySlots = key_slots(Channels);
  localparam int unsigned LogKeySlots = $clog2(KeySlots);

  typedef enum logic [3:0] {
    StIdle,
    StTake,
    StRead,
    StBeat,
    StRowRead,
    StCodes,
    StScale,
    StNextRow,
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

  // --- counters --------------------------------------------------------------------------------------------------
  logic [31:0] row_q;  // row (STV, XCHG), token (STKV)
  logic [ 9:0] head_q;
  logic [19:0] slot_q;  // STV: first slot of the beat
  logic [19:0] src_q;  // VB word or AB window of the row
  logic [19:0] src0_q;
  logic [39:0] addr_q;  // STV: the row in memory; STKV: the head's region
  logic [39:0] head_addr_q;
  logic [7:0] asked_q, got_q;  // words or windows of this step
  logic [7:0] want;
  logic [19:0] slots_left;
  logic [31:0] pos_q;
  logic [Channels-1:0] todo_q;     // channels that have not taken the beat
  logic [6:0] beat_q;  // of the row's codes: up to 65, with one channel

  // --- collected data --------------------------------------------------------------------------------------------
  logic [Channels-1:0][15:0][31:0] beat_data_q;
  logic [MaxHead-1:0][7:0] code_q;
  logic [31:0] scale_q;

  // STV: word `got` of the beat
  always_ff @(posedge clk_i) begin
    if (state_q == StRead && rd_rvalid_i) begin
      for (int l = 0; l < 16; l++) begin
        automatic int unsigned e = 16 * 32'(got_q) + 32'(l);
        beat_data_q[e&32'(Channels-1)][4'(e>>LogC)] <= rd_rdata_i[l];
      end
    end
    if (state_q == StRowRead && ab_rvalid_i) begin
      if (got_q == 0) scale_q <= ab_data_i[31:0];
      else code_q[16*32'(got_q-8'd1)+:16] <= ab_data_i;
    end
  end

  // --- STKV: what a beat of codes looks like ---------------------------------------------------------------------
  logic four, is_v;
  logic [39:0] code_addr, scale_addr;
  logic [31:0] unit, slot;
  logic [        15:0]        code_bytes;  // K: bytes of the group of slots; V: 16 bytes a (pair of) row slots
  logic [        15:0]        row_slots;
  logic [         6:0]        beats;
  logic [Channels-1:0][511:0] kv_data;
  logic [63:0] kv_strb, scale_strb;
  logic [31:0] scale_word;
  assign four = kv.bits == 1'(StkvBits4);
  assign is_v = kv.kind == 1'(StkvKindV);
  assign slot = pos_q >> LogC;
  assign unit = is_v ? pos_q >> 4 : slot >> LogKeySlots;
  assign code_addr = head_addr_q + 40'(unit) * 40'(kv.unit_bytes);
  assign row_slots = kv.len >> LogC;
  assign code_bytes = is_v ? (four ? ((row_slots + 16'd1) >> 1) << 4 : row_slots << 4) :
      (four ? kv.len >> 1 : kv.len) << LogKeySlots;
  assign beats = 7'((32'(code_addr[5:0]) + 32'(code_bytes) + 32'd63) >> 6);
  assign scale_addr = kv.scales + ((40'(slot) * 40'(kv.n1) + 40'(head_q)) << 1);
  assign scale_word = scale_q + 32'h0000ffff;  // bf16, rounded up in magnitude
  assign scale_strb = 64'd3 << scale_addr[5:0];
  always_comb begin
    kv_strb = '0;
    kv_data = '0;
    for (int x = 0; x < 64; x++) begin
      automatic logic [15:0] rel = 16'(x) + {3'd0, beat_q, 6'd0} - 16'(code_addr[5:0]);
      automatic logic [15:0] j = rel >> 4;
      // K: the slot within its group, and the code, that a byte belongs to
      automatic int unsigned beside = (32'(rel) >> (four ? 3 : 4)) % KeySlots;
      automatic int unsigned window = 32'(rel) >> ((four ? 3 : 4) + LogKeySlots);
      automatic int unsigned code = 16 * window + (four ? 2 * 32'(rel[2:0]) : 32'(rel[3:0]));
      if (rel < code_bytes && (is_v ? rel[3:0] == pos_q[3:0] : beside == slot % KeySlots)) begin
        kv_strb[x] = 1'b1;
        for (int c = 0; c < Channels; c++) begin
          automatic int unsigned low = is_v ? (32'(j) * (four ? 2 : 1)) * Channels + 32'(c) : code;
          automatic int unsigned high = is_v ? low + Channels : low + 1;
          kv_data[c][8*x+:8] = !four ? code_q[low] : {high < 32'(kv.len) ? code_q[high][3:0] : 4'd0, code_q[low][3:0]};
        end
      end
    end
  end

  // --- reads -----------------------------------------------------------------------------------------------------
  logic [5:0] stv_count;  // slots of the beat
  assign slots_left = stv.slots - slot_q;
  assign stv_count  = slots_left < 20'd16 ? 6'(slots_left) : 6'd16;
  always_comb begin
    unique case (state_q)
      StRead:    want = 8'(((32'(stv_count) << LogC) + 32'd15) >> 4);
      StRowRead: want = 8'((kv.len + 16'd15) >> 4) + 8'd1;
      default:   want = '0;
    endcase
  end
  assign ab_valid_o = state_q == StRowRead && asked_q < want;
  assign ab_addr_o  = src_q + 20'(asked_q);

  // --- exchange --------------------------------------------------------------------------------------------------
  logic [31:0] x_sent_q;  // words asked for
  logic [19:0] x_at_q;  // word within the row
  logic [31:0] x_row_q;
  logic [19:0] in_at_q;
  logic [19:0] in_row_q;  // first word of the row, core 0's part
  logic [31:0] in_row_count_q;
  logic [ 3:0] x_fly_q;
  logic        x_ask;
  assign x_want_o  = state_q == StExchange;
  assign x_words_o = (signed'(xc.n0) <= 0) ? 32'd0 : 32'(xc.n) * 32'(xc.n0);
  assign x_ask     = state_q == StExchange && x_turn_i && x_sent_q < x_words_o && x_fly_q < 4'd8;
  fifo #(
      .Width(512),
      .Depth(8)
  ) i_out (
      .clk_i,
      .rst_ni,
      .in_valid_i (rd_rvalid_i && state_q == StExchange),
      .in_data_i  (rd_rdata_i),
      .in_ready_o (),
      .out_valid_o(x_out_valid_o),
      .out_data_o (x_out_data_o),
      .out_ready_i(x_out_ready_i),
      .count_o    ()
  );
  assign vb_wr_valid_o = state_q == StExchange && x_in_valid_i;
  assign vb_wr_addr_o  = in_row_q + in_at_q + 20'(x_in_core_i) * xc.n;
  assign vb_wr_data_o  = x_in_data_i;
  assign x_in_ready_o  = state_q == StExchange && vb_wr_ready_i;

  always_comb begin
    if (state_q == StExchange) begin
      rd_valid_o = x_ask;
      rd_addr_o  = src_q + x_at_q;
    end else begin
      rd_valid_o = state_q == StRead && asked_q < want;
      rd_addr_o  = src_q + 20'((32'(slot_q) << LogC) >> 4) + 20'(asked_q);
    end
  end

  // --- writes ----------------------------------------------------------------------------------------------------
  logic [Channels-1:0] only;
  assign only = Channels'(1) << (pos_q & 32'(Channels - 1));
  assign wr_valid_o = todo_q;
  always_comb begin
    unique case (state_q)
      StBeat: begin
        wr_addr_o = addr_q + (40'(slot_q) << 2);
        wr_data_o = beat_data_q;
        wr_strb_o = (stv_count == 6'd16) ? '1 : (64'd1 << (4 * 32'(stv_count))) - 64'd1;
      end
      StScale: begin
        wr_addr_o = {scale_addr[39:6], 6'd0};
        wr_data_o = '0;
        for (int c = 0; c < Channels; c++) wr_data_o[c][8*32'(scale_addr[5:0])+:16] = scale_word[31:16];
        wr_strb_o = scale_strb;
      end
      default: begin
        wr_addr_o = {code_addr[39:6] + 34'(beat_q), 6'd0};
        wr_data_o = kv_data;
        wr_strb_o = kv_strb;
      end
    endcase
  end
  logic written;
  assign written = (todo_q & ~wr_ready_i) == '0;

  // --- control ---------------------------------------------------------------------------------------------------
  assign op_ready_o = state_q == StIdle;
  assign take_valid_o = state_q == StTake;
  assign take_mask_o = op_q.inst[9:6];
  assign give_valid_o = state_q == StGive;
  assign give_mask_o = op_q.inst[13:10];
  assign idle_o = state_q == StIdle && !op_valid_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      todo_q  <= '0;
      x_fly_q <= '0;
    end else begin
      if (rd_valid_o && rd_ready_i) asked_q <= asked_q + 8'd1;
      if (ab_valid_o && ab_ready_i) asked_q <= asked_q + 8'd1;
      if ((state_q == StRead && rd_rvalid_i) || (state_q == StRowRead && ab_rvalid_i)) got_q <= got_q + 8'd1;
      todo_q <= todo_q & ~wr_ready_i;
      unique case (state_q)
        StIdle:
        if (op_valid_i) begin
          op_q <= op_i;
          state_q <= StTake;
        end
        StTake:
        if (take_ready_i) begin
          row_q <= '0;
          head_q <= '0;
          slot_q <= '0;
          asked_q <= '0;
          got_q <= '0;
          beat_q <= '0;
          pos_q <= kv.pos;
          x_sent_q <= '0;
          x_at_q <= '0;
          x_row_q <= '0;
          in_at_q <= '0;
          in_row_count_q <= '0;
          in_row_q <= xc.dst;
          unique case (opcode)
            OpStv: begin
              src_q   <= stv.src;
              addr_q  <= stv.addr;
              state_q <= (signed'(stv.rows) <= 0 || stv.slots == 0) ? StDrain : StRead;
            end
            OpStkv: begin
              src_q <= kv.ab;
              src0_q <= kv.ab;
              head_addr_q <= kv.addr;
              state_q <= (signed'(kv.n0) <= 0 || kv.n1 == 0) ? StDrain : StRowRead;
            end
            default: begin
              src_q   <= xc.src;
              state_q <= StExchange;
            end
          endcase
        end
        // ---- STV
        StRead:
        if (got_q == want) begin
          asked_q <= '0;
          got_q   <= '0;
          todo_q  <= '1;
          state_q <= StBeat;
        end
        StBeat:
        if (written) begin
          slot_q  <= slot_q + 20'd16;
          state_q <= StRead;
          if (slots_left <= 20'd16) begin
            slot_q <= '0;
            src_q  <= src_q + stv.src_row;
            addr_q <= addr_q + 40'(stv.row);
            row_q  <= row_q + 32'd1;
            if (row_q + 32'd1 == stv.rows) state_q <= StDrain;
          end
        end
        // ---- STKV
        StRowRead:
        if (got_q == want) begin
          asked_q <= '0;
          got_q   <= '0;
          beat_q  <= '0;
          todo_q  <= is_v ? '1 : only;
          state_q <= StCodes;
        end
        StCodes:
        if (written) begin
          beat_q <= beat_q + 7'd1;
          todo_q <= is_v ? '1 : only;
          if (beat_q + 7'd1 == beats) begin
            todo_q  <= only;
            state_q <= StScale;
          end
        end
        StScale: if (written) state_q <= StNextRow;
        StNextRow: begin
          state_q <= StRowRead;
          head_q <= head_q + 10'd1;
          src_q <= src_q + kv.ab_s1;
          head_addr_q <= head_addr_q + 40'(kv.head);
          if (head_q + 10'd1 == kv.n1) begin
            head_q <= '0;
            src_q <= src0_q + kv.ab_s0;
            src0_q <= src0_q + kv.ab_s0;
            head_addr_q <= kv.addr;
            pos_q <= pos_q + 32'd1;
            row_q <= row_q + 32'd1;
            if (row_q + 32'd1 == kv.n0) state_q <= StDrain;
          end
        end
        // ---- XCHG
        StExchange: begin
          x_fly_q <= x_fly_q + 4'(x_ask && rd_ready_i) - 4'(x_out_valid_o && x_out_ready_i);
          if (x_ask && rd_ready_i) begin
            x_sent_q <= x_sent_q + 32'd1;
            x_at_q   <= x_at_q + 20'd1;
            if (x_at_q + 20'd1 == xc.n) begin
              x_at_q <= '0;
              src_q  <= src_q + xc.src_row;
            end
          end
          if (x_in_accept_i) begin
            in_at_q <= in_at_q + 20'd1;
            if (in_at_q + 20'd1 == xc.n) begin
              in_at_q <= '0;
              in_row_q <= in_row_q + xc.dst_row;
              in_row_count_q <= in_row_count_q + 32'd1;
              if (in_row_count_q + 32'd1 == xc.n0) begin
                in_row_count_q <= '0;
                in_row_q <= xc.dst;
              end
            end
          end
          if (x_end_i) state_q <= StGive;
        end
        StDrain: if (wr_busy_i == '0) state_q <= StGive;
        StGive:  state_q <= StIdle;
        default: state_q <= StIdle;
      endcase
    end
  end
endmodule
