// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// First half of the load unit: takes instructions and their tokens, cuts them into segments (pieces of memory, equal on all
// channels), asks the channels' readers for the beats that cover each, and tells the second half what to do with them. It runs
// ahead as far as the staging has room. Two things wait for the second half: an LDG for its token ids, and an LDK whose
// mask applies for what was loaded before.

module load_request #(
    parameter int unsigned Channels = 4,
    parameter int unsigned Staging  = 64,   // beats per channel
    parameter int unsigned MaxIds   = 1024
) (
    input logic clk_i,
    input logic rst_ni,
    input logic op_valid_i,
    input flightllm_isa_pkg::dispatch_t op_i,
    output logic op_ready_o,
    output logic take_valid_o,
    output logic [3:0] take_mask_o,
    input logic take_ready_i,
    output logic idle_o,
    output logic [3:0] error_o,
    // mask buffer
    output logic [15:0] mb_addr_o,
    input logic [7:0] mb_data_i,
    // readers
    output logic [Channels-1:0] req_valid_o,
    output logic [39:0] req_addr_o,
    output logic [15:0] req_beats_o,
    input logic [Channels-1:0] req_ready_i,
    // second half
    output logic segment_valid_o,
    output load_pkg::segment_t segment_o,
    input logic segment_ready_i,
    input logic beat_used_i,  // a beat has left the staging
    input logic rest_idle_i,  // nothing queued or at work in the second half
    input logic id_valid_i,  // 16 ids of a beat
    input logic [15:0][31:0] id_data_i
);
  import flightllm_isa_pkg::*;
  import load_pkg::*;
  localparam int unsigned LogC = $clog2(Channels);
  localparam int unsigned LogKeySlots = $clog2(key_slots(Channels));
  localparam logic [3:0] ErrToken = 4'd4;
  localparam int unsigned MaxBeats = 32;

  typedef enum logic [3:0] {
    StIdle,
    StTake,
    StRow,
    StIds,
    StGather,
    StGatherRow,
    StMask,
    StRuns,
    StSegment,
    StBeats,
    StEnd,
    StDead
  } state_e;
  state_e state_q, back_q;

  dispatch_t op_q;
  logic [5:0] opcode;
  ldv_op_t ldv;
  ldg_op_t ldg;
  ldm_op_t ldm;
  lds_op_t lds;
  ldk_op_t ldk;
  assign opcode = op_q.inst[5:0];
  assign ldv = ldv_op(op_q);
  assign ldg = ldg_op(op_q);
  assign ldm = ldm_op(op_q);
  assign lds = lds_op(op_q);
  assign ldk = ldk_op(op_q);

  // --- token ids -------------------------------------------------------------------------------------------------
  logic [15:0][31:0] id_mem[MaxIds/16];
  logic [$clog2(MaxIds/16)-1:0] id_write_q;
  logic [31:0] id_now;
  logic [31:0] row_q, rows;  // row of LDV, LDG; how many
  assign id_now = id_mem[($clog2(MaxIds/16))'(row_q>>4)][row_q[3:0]];
  assign rows   = opcode == OpLdv ? 32'(ldv.rows) : 32'(ldg.rows);

  // --- runs of blocks (LDS, LDK) ---------------------------------------------------------------------------------
  logic run_start, run_valid, run_ready, run_done, runs_done_q;
  logic [19:0] run_from, run_to;
  logic runs_scales;
  logic run_last;
  assign runs_scales = opcode == OpLds;
  block_runs i_runs (
      .clk_i,
      .rst_ni,
      .start_i (run_start),
      .len_i   (runs_scales ? lds.len : ldk.len),
      .sink_i  (runs_scales ? lds.sink : ldk.sink),
      .first_i (runs_scales ? lds.first_block : ldk.first_block),
      .masked_i(!runs_scales && ldk.masked != 0),
      .mask_i  (ldk.mask),
      .mb_addr_o,
      .mb_data_i,
      .valid_o (run_valid),
      .from_o  (run_from),
      .to_o    (run_to),
      .last_o  (run_last),
      .ready_i (run_ready),
      .done_o  (run_done)
  );

  // blocks -> units: slots (LDS), groups of slots (LDK of K) or 16 positions, the last run's end by the length
  logic [31:0] unit_from, unit_to;
  logic windows;
  logic [2:0] log_unit;
  logic signed [31:0] keys;
  assign log_unit = runs_scales ? 3'(LogC) : 3'(LogC + LogKeySlots);
  assign windows = !runs_scales && ldk.kind == 1'(LdkKindV);
  assign keys = runs_scales ? lds.len : ldk.len;
  always_comb begin
    if (windows) begin
      unit_from = 32'(run_from) << 2;
      unit_to   = run_last ? (unsigned'(keys) + 32'd15) >> 4 : 32'(run_to) << 2;
    end else begin
      unit_from = (32'(run_from) << 6) >> log_unit;
      unit_to   = ((run_last ? unsigned'(keys) : 32'(run_to) << 6) + (32'd1 << log_unit) - 32'd1) >> log_unit;
    end
  end

  // --- segments --------------------------------------------------------------------------------------------------
  segment_t        seg_q;
  logic     [39:0] addr_q;  // first byte of the segment
  logic [31:0] left_q, beats;  // beats of it still to ask for
  logic [         6:0] used_q;  // beats asked for and not out of the staging
  logic [Channels-1:0] todo_q;
  logic none, send;
  assign none = todo_q == '0;
  assign beats = left_q < 32'(MaxBeats) ? left_q : 32'(MaxBeats);
  assign send = state_q == StBeats && left_q != 0 && none && 32'(used_q) + beats <= 32'(Staging);
  assign req_valid_o = todo_q;
  assign segment_valid_o = (state_q == StSegment) || (state_q == StEnd);
  always_comb begin
    segment_o = seg_q;
    if (state_q == StEnd) begin
      segment_o = '0;
      segment_o.kind = LoadEnd;
      segment_o.signal_mask = op_q.inst[13:10];
    end
  end

  assign op_ready_o = state_q == StIdle;
  assign take_valid_o = state_q == StTake;
  assign take_mask_o = op_q.inst[9:6];
  assign idle_o = state_q == StIdle && !op_valid_i;
  assign run_ready = state_q == StRuns && run_valid;
  assign run_start = state_q == StMask && opcode != OpLdm && (runs_scales || ldk.masked == 0 || rest_idle_i);

  logic [39:0] row_addr;
  logic [31:0] row_bytes;
  logic row_half;
  assign row_half  = opcode == OpLdv ? ldv.dtype == 1'(LdvDtypeF16) : ldg.dtype == 1'(LdgDtypeF16);
  assign row_bytes = (opcode == OpLdv ? 32'(ldv.slots) : 32'(ldg.slots)) << (row_half ? 1 : 2);
  logic [39:0] gather_q;

  // a segment that is ready to be sent: registers shared by all kinds
  // and where to go on behind it
  task automatic segment(logic [39:0] addr, logic [31:0] nbytes, state_e back);
    addr_q <= addr;
    seg_q.offset <= addr[5:0];
    seg_q.nbytes <= nbytes;
    left_q <= (32'(addr[5:0]) + nbytes + 32'd63) >> 6;
    back_q <= back;
    state_q <= nbytes == 0 ? back : StSegment;
  endtask

  always_ff @(posedge clk_i) begin
    error_o <= '0;
    if (id_valid_i) begin
      id_mem[id_write_q] <= id_data_i;
      id_write_q <= id_write_q + 1'b1;
    end
    if (run_done) runs_done_q <= 1'b1;
    if (!rst_ni) begin
      state_q <= StIdle;
      used_q  <= '0;
      todo_q  <= '0;
    end else begin
      used_q <= used_q + (send ? 7'(beats) : 7'd0) - 7'(beat_used_i);
      todo_q <= send ? '1 : todo_q & ~req_ready_i;
      if (send) begin
        req_addr_o <= {addr_q[39:6], 6'd0};
        req_beats_o <= 16'(beats);
        addr_q <= addr_q + (40'(beats) << 6);
        left_q <= left_q - beats;
      end
      unique case (state_q)
        StIdle:
        if (op_valid_i) begin
          op_q    <= op_i;
          state_q <= StTake;
        end
        StTake:
        if (take_ready_i) begin
          row_q <= '0;
          seg_q <= '0;
          runs_done_q <= 1'b0;
          unique case (opcode)
            OpLdv:   state_q <= signed'(rows) <= 0 ? StEnd : StRow;
            OpLdg:   state_q <= signed'(rows) <= 0 ? StEnd : StIds;
            default: state_q <= StMask;
          endcase
        end
        // ---- LDV: a segment a row
        StRow: begin
          seg_q.kind <= LoadVector;
          seg_q.half <= row_half;
          seg_q.slots <= ldv.slots;
          seg_q.dst <= row_q == 0 ? ldv.dst : seg_q.dst + ldv.dst_row;
          row_q <= row_q + 32'd1;
          gather_q <= (row_q == 0 ? ldv.addr : gather_q) + 40'(ldv.row);
          segment(row_q == 0 ? ldv.addr : gather_q, row_bytes, row_q + 32'd1 == rows ? StEnd : StRow);
          if (row_bytes == 0) state_q <= StEnd;
        end
        // ---- LDG: ids, then a segment a row
        StIds:
        if (rest_idle_i && none) begin
          id_write_q <= '0;
          seg_q.kind <= LoadIds;
          segment(ldg.ids, rows << 2, StGather);
        end
        StGather:  // the first row waits for the ids
        if (row_q != 0 || (rest_idle_i && used_q == 0 && none)) begin
          if (row_q == rows) begin
            state_q <= StEnd;
          end else if (signed'(id_now) < 0 || id_now >= 32'(ldg.limit)) begin
            error_o <= ErrToken;
            state_q <= StDead;
          end else begin
            gather_q <= ldg.has_table + 40'(id_now) * 40'(ldg.row);
            state_q  <= StGatherRow;
          end
        end
        StGatherRow: begin
          seg_q.kind <= LoadVector;
          seg_q.half <= row_half;
          seg_q.slots <= ldg.slots;
          seg_q.dst <= row_q == 0 ? ldg.dst : seg_q.dst + ldg.dst_row;
          row_q <= row_q + 32'd1;
          segment(gather_q, row_bytes, StGather);
          if (row_bytes == 0) state_q <= StEnd;
        end
        // ---- LDM, LDS, LDK
        StMask: begin
          if (opcode == OpLdm) begin
            seg_q.kind <= LoadMask;
            seg_q.dst  <= 20'(ldm.dst);
            segment(ldm.addr, 32'(ldm.nbytes), StEnd);
          end else if (runs_scales || ldk.masked == 0 || rest_idle_i) begin
            state_q <= StRuns;
          end
        end
        StRuns: begin
          seg_q.kind     <= runs_scales ? LoadScales : LoadKeys;
          seg_q.heads    <= lds.heads;
          seg_q.dst      <= lds.dst;
          seg_q.dst_head <= lds.dst_head;
          seg_q.slot     <= unit_from;
          if (run_valid) begin
            if (runs_scales) begin
              segment(lds.addr + 40'(unit_from) * 40'({lds.heads, 1'b0}),
                      (unit_to - unit_from) * 32'({lds.heads, 1'b0}), StRuns);
            end else begin
              segment(ldk.addr + 40'(unit_from) * 40'(ldk.unit_bytes), (unit_to - unit_from) * 32'(ldk.unit_bytes),
                      StRuns);
            end
          end else if (runs_done_q) begin
            state_q <= StEnd;
          end
        end
        StSegment: if (segment_ready_i) state_q <= StBeats;
        StBeats: if (left_q == 0) state_q <= back_q;
        StEnd: if (segment_ready_i) state_q <= StIdle;
        StDead: ;
        default: state_q <= StIdle;
      endcase
    end
  end
endmodule
