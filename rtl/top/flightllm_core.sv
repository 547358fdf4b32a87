// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// One core: sequencer, the five units with their queues, on-chip buffers, rings, and an AXI4 port for each memory channel
// (docs/rtl.md). Channel 0 also carries the instruction fetch.

module flightllm_core #(
    parameter int unsigned Channels   = 4,
    parameter int unsigned Vpus       = 8,
    parameter int unsigned ChainVpus  = 1,
    parameter int unsigned Lanes      = 8,
    parameter int unsigned PortBits   = 512,
    parameter int unsigned VbWords    = 1024,
    parameter int unsigned VbBanks    = 4,
    parameter int unsigned AbWindows  = 1024,
    parameter int unsigned MbBytes    = 4096,
    parameter int unsigned WRingBytes = 65536,
    parameter int unsigned KRingBytes = 16384,
    parameter int unsigned AccEntries = 512,
    parameter int unsigned QueueDepth = 16
) (
    input logic clk_i,
    input logic rst_ni,
    // run
    input logic start_i,
    input logic [31:0] pos_i,
    input logic [31:0] ntok_i,
    input logic [31:0] nlog_i,
    input logic [31:0] masken_i,
    input logic [31:0] core_i,
    input logic [39:0] program_addr_i,
    input logic [31:0] program_len_i,
    input logic [Channels-1:0][63:0] base_i,
    output logic done_o,
    output logic [3:0] error_o,  // one cycle
    output logic progress_o,  // something moved in this cycle
    input logic run_i,  // counters count
    output flightllm_control_pkg::core_status_t status_o,
    output logic [Channels-1:0][63:0] read_bytes_o,
    output logic [Channels-1:0][63:0] written_bytes_o,
    // exchange
    output logic x_want_o,
    output logic [31:0] x_words_o,
    input logic x_turn_i,
    output logic x_out_valid_o,
    output logic [15:0][31:0] x_out_data_o,
    input logic x_out_ready_i,
    input logic x_in_valid_i,
    input logic [15:0][31:0] x_in_data_i,
    input logic [1:0] x_in_core_i,
    output logic x_in_ready_o,
    input logic x_in_accept_i,
    input logic x_end_i,
    // AXI4
    output logic [Channels-1:0] arvalid_o,
    input logic [Channels-1:0] arready_i,
    output logic [Channels-1:0][63:0] araddr_o,
    output logic [Channels-1:0][7:0] arlen_o,
    output logic [Channels-1:0][3:0] arid_o,
    input logic [Channels-1:0] rvalid_i,
    output logic [Channels-1:0] rready_o,
    input logic [Channels-1:0][PortBits-1:0] rdata_i,
    input logic [Channels-1:0][3:0] rid_i,
    input logic [Channels-1:0][1:0] rresp_i,
    input logic [Channels-1:0] rlast_i,
    output logic [Channels-1:0] awvalid_o,
    input logic [Channels-1:0] awready_i,
    output logic [Channels-1:0][63:0] awaddr_o,
    output logic [Channels-1:0][7:0] awlen_o,
    output logic [Channels-1:0][3:0] awid_o,
    output logic [Channels-1:0] wvalid_o,
    input logic [Channels-1:0] wready_i,
    output logic [Channels-1:0][PortBits-1:0] wdata_o,
    output logic [Channels-1:0][PortBits/8-1:0] wstrb_o,
    output logic [Channels-1:0] wlast_o,
    input logic [Channels-1:0] bvalid_i,
    output logic [Channels-1:0] bready_o,
    input logic [Channels-1:0][1:0] bresp_i
);
  import flightllm_isa_pkg::*;
  import flightllm_control_pkg::*;
  localparam int unsigned VbReads = 2 + special_pkg::Streams;  // M, T, then the streams of S
  localparam int unsigned VbWrites = 4;  // M, L, S, T

  // --- memory channels -------------------------------------------------------------------------------------------
  localparam int unsigned RdFetch = 0;
  localparam int unsigned RdWeights = 1;
  localparam int unsigned RdLoads = 2;
  logic [Channels-1:0][2:0] rd_req_valid, rd_req_ready, rd_rvalid;
  logic [Channels-1:0][511:0] rd_rdata;
  logic [39:0] fetch_addr, weight_addr, load_addr;
  logic [15:0] fetch_beats, weight_beats, load_beats;
  logic fetch_valid;
  logic [Channels-1:0] weight_valid, load_valid, rd_error, wr_error, wr_busy, t_wr_valid, t_wr_ready;
  logic [Channels-1:0] rd_hold;
  logic [39:0] t_wr_addr;
  logic [Channels-1:0][511:0] t_wr_data;
  logic [63:0] t_wr_strb;
  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    assign rd_req_valid[c] = {load_valid[c], weight_valid[c], c == 0 && fetch_valid};
    axi_reader #(
        .PortBits(PortBits)
    ) i_reader (
        .clk_i,
        .rst_ni,
        .base_i     (base_i[c]),
        .req_valid_i(rd_req_valid[c]),
        .req_addr_i ({load_addr, weight_addr, fetch_addr}),
        .req_beats_i({load_beats, weight_beats, fetch_beats}),
        .req_ready_o(rd_req_ready[c]),
        .rvalid_o   (rd_rvalid[c]),
        .rdata_o    (rd_rdata[c]),
        .error_o    (rd_error[c]),
        .busy_o     (),
        .arvalid_o  (arvalid_o[c]),
        .arready_i  (arready_i[c]),
        .araddr_o   (araddr_o[c]),
        .arlen_o    (arlen_o[c]),
        .arid_o     (arid_o[c]),
        .rvalid_i   (rvalid_i[c]),
        .rready_o   (rready_o[c]),
        // parts of a beat leave gaps of their own
        .hold_i     (PortBits == 512 && rd_hold[c]),
        .rdata_i    (rdata_i[c]),
        .rid_i      (rid_i[c]),
        .rresp_i    (rresp_i[c]),
        .rlast_i    (rlast_i[c])
    );
    axi_writer #(
        .PortBits(PortBits)
    ) i_writer (
        .clk_i,
        .rst_ni,
        .base_i   (base_i[c]),
        .valid_i  (t_wr_valid[c]),
        .addr_i   (t_wr_addr),
        .data_i   (t_wr_data[c]),
        .strb_i   (t_wr_strb),
        .ready_o  (t_wr_ready[c]),
        .busy_o   (wr_busy[c]),
        .error_o  (wr_error[c]),
        .awvalid_o(awvalid_o[c]),
        .awready_i(awready_i[c]),
        .awaddr_o (awaddr_o[c]),
        .awlen_o  (awlen_o[c]),
        .awid_o   (awid_o[c]),
        .wvalid_o (wvalid_o[c]),
        .wready_i (wready_i[c]),
        .wdata_o  (wdata_o[c]),
        .wstrb_o  (wstrb_o[c]),
        .wlast_o  (wlast_o[c]),
        .bvalid_i (bvalid_i[c]),
        .bready_o (bready_o[c]),
        .bresp_i  (bresp_i[c])
    );
  end

  // --- sequencer and queues --------------------------------------------------------------------------------------
  logic fetch_stop, jump, inst_valid, inst_ready, clean, seq_busy, seq_stalled;
  logic [31:0] jump_pc, pc;
  logic [511:0] inst;
  logic [4:0] q_in_valid, q_in_ready, q_valid, q_ready, unit_idle, whole_idle;
  dispatch_t q_in, q_data[5];
  logic [3:0] seq_error, load_error;

  instruction_fetch i_fetch (
      .clk_i,
      .rst_ni,
      .start_i,
      .program_addr_i,
      .program_len_i,
      .stop_i     (fetch_stop),
      .jump_i     (jump),
      .jump_pc_i  (jump_pc),
      .valid_o    (inst_valid),
      .inst_o     (inst),
      .ready_i    (inst_ready),
      .req_valid_o(fetch_valid),
      .req_addr_o (fetch_addr),
      .req_beats_o(fetch_beats),
      .req_ready_i(rd_req_ready[0][RdFetch]),
      .rvalid_i   (rd_rvalid[0][RdFetch]),
      .rdata_i    (rd_rdata[0])
  );
  sequencer i_sequencer (
      .clk_i,
      .rst_ni,
      .start_i,
      .pos_i,
      .ntok_i,
      .nlog_i,
      .masken_i,
      .core_i,
      .program_len_i,
      .done_o,
      .error_o      (seq_error),
      .pc_o         (pc),
      .busy_o       (seq_busy),
      .stalled_o    (seq_stalled),
      .fetch_stop_o (fetch_stop),
      .jump_o       (jump),
      .jump_pc_o    (jump_pc),
      .inst_valid_i (inst_valid),
      .inst_i       (inst),
      .inst_ready_o (inst_ready),
      .queue_valid_o(q_in_valid),
      .queue_data_o (q_in),
      .queue_ready_i(q_in_ready),
      .unit_idle_i  (whole_idle),
      .clean_i      (clean)
  );
  for (genvar u = 0; u < 5; u++) begin : gen_queue
    fifo #(
        .Width($bits(dispatch_t)),
        .Depth(QueueDepth)
    ) i_queue (
        .clk_i,
        .rst_ni,
        .in_valid_i (q_in_valid[u]),
        .in_data_i  (q_in),
        .in_ready_o (q_in_ready[u]),
        .out_valid_o(q_valid[u]),
        .out_data_o (q_data[u]),
        .out_ready_i(q_ready[u]),
        .count_o    ()
    );
  end
  assign whole_idle = unit_idle & ~q_valid;

  logic [3:0] take_valid, take_ready, give_valid;
  logic [3:0][3:0] take_mask, give_mask;
  logic no_tokens;
  logic [3:0][3:0][7:0] token_count;
  tokens i_tokens (
      .clk_i,
      .rst_ni,
      .take_valid_i(take_valid),
      .take_mask_i (take_mask),
      .take_ready_o(take_ready),
      .give_valid_i(give_valid),
      .give_mask_i (give_mask),
      .none_o      (no_tokens),
      .count_o     (token_count)
  );

  // --- buffers ---------------------------------------------------------------------------------------------------
  logic [VbReads-1:0] vr_valid, vr_ready, vr_rvalid;
  logic [VbReads-1:0][19:0] vr_addr;
  logic [VbReads-1:0][15:0][31:0] vr_rdata;
  logic [VbWrites-1:0] vw_valid, vw_ready;
  logic [VbWrites-1:0][19:0] vw_addr;
  logic [VbWrites-1:0][15:0][31:0] vw_data;
  logic [VbWrites-1:0][15:0] vw_mask;
  logic vb_error;
  vector_buffer #(
      .Words       (VbWords),
      .Banks       (VbBanks),
      .ReadClients (VbReads),
      .WriteClients(VbWrites)
  ) i_vb (
      .clk_i,
      .rst_ni,
      .rd_valid_i (vr_valid),
      .rd_addr_i  (vr_addr),
      .rd_ready_o (vr_ready),
      .rd_rvalid_o(vr_rvalid),
      .rd_rdata_o (vr_rdata),
      .wr_valid_i (vw_valid),
      .wr_addr_i  (vw_addr),
      .wr_data_i  (vw_data),
      .wr_mask_i  (vw_mask),
      .wr_ready_o (vw_ready),
      .error_o    (vb_error)
  );
  assign vw_mask[3] = '1;

  logic ab_wr_valid, m_ab_valid, t_ab_valid, t_ab_ready, t_ab_rvalid;
  logic [19:0] ab_wr_addr, m_ab_a, m_ab_b, t_ab_addr;
  logic [1:0][127:0] ab_wr_data;
  logic [1:0] ab_wr_mask;
  logic [127:0] ab_a, ab_b, ab_t;
  activation_buffer #(
      .Windows(AbWindows)
  ) i_ab (
      .clk_i,
      .rst_ni,
      .wr_valid_i(ab_wr_valid),
      .wr_addr_i (ab_wr_addr),
      .wr_data_i (ab_wr_data),
      .wr_mask_i (ab_wr_mask),
      .m_valid_i (m_ab_valid),
      .a_addr_i  (m_ab_a),
      .b_addr_i  (m_ab_b),
      .a_data_o  (ab_a),
      .b_data_o  (ab_b),
      .t_valid_i (t_ab_valid),
      .t_addr_i  (t_ab_addr),
      .t_ready_o (t_ab_ready),
      .t_rvalid_o(t_ab_rvalid),
      .t_data_o  (ab_t)
  );

  logic mb_we;
  logic [15:0] mb_waddr;
  logic [7:0] mb_wdata;
  logic [2:0][15:0] mb_addr;
  logic [2:0][7:0] mb_data;
  mask_buffer #(
      .Bytes(MbBytes)
  ) i_mb (
      .clk_i,
      .we_i   (mb_we),
      .waddr_i(mb_waddr),
      .wdata_i(mb_wdata),
      .addr_i (mb_addr),
      .data_o (mb_data)
  );

  // --- rings -----------------------------------------------------------------------------------------------------
  logic [Channels-1:0][5:0] w_level, k_level;
  logic [Channels-1:0][15:0][63:0] pop_data;  // of W or K, whichever was popped
  logic [Channels-1:0][31:0] k_free, w_count, k_count;
  logic [Channels-1:0] k_stall;
  logic [4:0] w_pop, k_pop;
  logic [3:0] k_place;
  logic w_clean, k_stall_q;
  logic push_valid;
  logic [Channels-1:0][7:0][63:0] push_data;
  logic [2:0] push_first;
  logic [3:0] push_count;
  for (genvar c = 0; c < Channels; c++) begin : gen_ring
    ring #(
        .WBytes(WRingBytes),
        .KBytes(KRingBytes)
    ) i_ring (
        .clk_i,
        .rst_ni,
        .w_push_i (rd_rvalid[c][RdWeights]),
        .w_data_i (rd_rdata[c]),
        .k_push_i (push_valid),
        .k_data_i (push_data[c]),
        .k_first_i(push_first),
        .k_count_i(push_count),
        .k_stall_o(k_stall[c]),
        .hold_o   (rd_hold[c]),
        .k_free_o (k_free[c]),
        .w_level_o(w_level[c]),
        .k_level_o(k_level[c]),
        .w_count_o(w_count[c]),
        .k_count_o(k_count[c]),
        .w_pop_i  (w_pop),
        .k_pop_i  (k_pop),
        .k_place_i(k_place),
        .data_o   (pop_data[c])
    );
  end
  // All K rings are pushed and popped alike: the first speaks for all, but each may have a beat of W that waits.
  always_ff @(posedge clk_i) k_stall_q <= rst_ni && k_stall != '0;
  // Weights may still be under way when the ring is empty: W does not wait for them.
  assign clean = no_tokens && w_clean && k_free[0] == 32'(KRingBytes / 8);

  // --- units -----------------------------------------------------------------------------------------------------
  logic w_stalled, m_beat, m_waits;
  logic [Channels-1:0] weight_req_ready, load_req_ready, load_rvalid;
  for (genvar c = 0; c < Channels; c++) begin : gen_split
    assign weight_req_ready[c] = rd_req_ready[c][RdWeights];
    assign load_req_ready[c]   = rd_req_ready[c][RdLoads];
    assign load_rvalid[c]      = rd_rvalid[c][RdLoads];
  end
  weight_unit #(
      .Channels (Channels),
      .RingBytes(WRingBytes)
  ) i_weight (
      .clk_i,
      .rst_ni,
      .op_valid_i (q_valid[UnitW]),
      .op_i       (q_data[UnitW]),
      .op_ready_o (q_ready[UnitW]),
      .idle_o     (unit_idle[UnitW]),
      .clean_o    (w_clean),
      .stalled_o  (w_stalled),
      .req_valid_o(weight_valid),
      .req_addr_o (weight_addr),
      .req_beats_o(weight_beats),
      .req_ready_i(weight_req_ready),
      .pop_i      (w_pop)
  );
  load_unit #(
      .Channels(Channels)
  ) i_load (
      .clk_i,
      .rst_ni,
      .op_valid_i  (q_valid[UnitL]),
      .op_i        (q_data[UnitL]),
      .op_ready_o  (q_ready[UnitL]),
      .take_valid_o(take_valid[TokenL]),
      .take_mask_o (take_mask[TokenL]),
      .take_ready_i(take_ready[TokenL]),
      .give_valid_o(give_valid[TokenL]),
      .give_mask_o (give_mask[TokenL]),
      .idle_o      (unit_idle[UnitL]),
      .error_o     (load_error),
      .req_valid_o (load_valid),
      .req_addr_o  (load_addr),
      .req_beats_o (load_beats),
      .req_ready_i (load_req_ready),
      .rvalid_i    (load_rvalid),
      .rdata_i     (rd_rdata),
      .wr_valid_o  (vw_valid[1]),
      .wr_addr_o   (vw_addr[1]),
      .wr_data_o   (vw_data[1]),
      .wr_mask_o   (vw_mask[1]),
      .wr_ready_i  (vw_ready[1]),
      .mb_we_o     (mb_we),
      .mb_waddr_o  (mb_waddr),
      .mb_wdata_o  (mb_wdata),
      .mb_addr_o   (mb_addr[0]),
      .mb_data_i   (mb_data[0]),
      .push_valid_o(push_valid),
      .push_data_o (push_data),
      .push_first_o(push_first),
      .push_count_o(push_count),
      .ring_free_i (k_free[0]),
      .push_stall_i(k_stall_q)
  );
  matrix_unit #(
      .Vpus     (Vpus),
      .ChainVpus(ChainVpus),
      .Channels (Channels),
      .Entries  (AccEntries)
  ) i_matrix (
      .clk_i,
      .rst_ni,
      .op_valid_i  (q_valid[UnitM]),
      .op_i        (q_data[UnitM]),
      .op_ready_o  (q_ready[UnitM]),
      .take_valid_o(take_valid[TokenM]),
      .take_mask_o (take_mask[TokenM]),
      .take_ready_i(take_ready[TokenM]),
      .give_valid_o(give_valid[TokenM]),
      .give_mask_o (give_mask[TokenM]),
      .idle_o      (unit_idle[UnitM]),
      .beat_o      (m_beat),
      .wait_data_o (m_waits),
      .w_level_i   (w_level),
      .w_pop_o     (w_pop),
      .k_level_i   (k_level),
      .k_pop_o     (k_pop),
      .k_place_o   (k_place),
      .data_i      (pop_data),
      .ab_valid_o  (m_ab_valid),
      .ab_a_addr_o (m_ab_a),
      .ab_b_addr_o (m_ab_b),
      .ab_a_data_i (ab_a),
      .ab_b_data_i (ab_b),
      .mb_addr_o   (mb_addr[1]),
      .mb_data_i   (mb_data[1]),
      .rd_valid_o  (vr_valid[0]),
      .rd_addr_o   (vr_addr[0]),
      .rd_ready_i  (vr_ready[0]),
      .rd_rvalid_i (vr_rvalid[0]),
      .rd_rdata_i  (vr_rdata[0]),
      .wr_valid_o  (vw_valid[0]),
      .wr_addr_o   (vw_addr[0]),
      .wr_data_o   (vw_data[0]),
      .wr_mask_o   (vw_mask[0]),
      .wr_ready_i  (vw_ready[0])
  );
  special_unit #(
      .Lanes(Lanes)
  ) i_special (
      .clk_i,
      .rst_ni,
      .op_valid_i  (q_valid[UnitS]),
      .op_i        (q_data[UnitS]),
      .op_ready_o  (q_ready[UnitS]),
      .take_valid_o(take_valid[TokenS]),
      .take_mask_o (take_mask[TokenS]),
      .take_ready_i(take_ready[TokenS]),
      .give_valid_o(give_valid[TokenS]),
      .give_mask_o (give_mask[TokenS]),
      .idle_o      (unit_idle[UnitS]),
      .rd_valid_o  (vr_valid[VbReads-1:2]),
      .rd_addr_o   (vr_addr[VbReads-1:2]),
      .rd_ready_i  (vr_ready[VbReads-1:2]),
      .rd_rvalid_i (vr_rvalid[VbReads-1:2]),
      .rd_rdata_i  (vr_rdata[VbReads-1:2]),
      .wr_valid_o  (vw_valid[2]),
      .wr_addr_o   (vw_addr[2]),
      .wr_data_o   (vw_data[2]),
      .wr_mask_o   (vw_mask[2]),
      .wr_ready_i  (vw_ready[2]),
      .ab_valid_o  (ab_wr_valid),
      .ab_addr_o   (ab_wr_addr),
      .ab_data_o   (ab_wr_data),
      .ab_mask_o   (ab_wr_mask),
      .mb_addr_o   (mb_addr[2]),
      .mb_data_i   (mb_data[2])
  );
  store_unit #(
      .Channels(Channels)
  ) i_store (
      .clk_i,
      .rst_ni,
      .op_valid_i   (q_valid[UnitT]),
      .op_i         (q_data[UnitT]),
      .op_ready_o   (q_ready[UnitT]),
      .take_valid_o (take_valid[TokenT]),
      .take_mask_o  (take_mask[TokenT]),
      .take_ready_i (take_ready[TokenT]),
      .give_valid_o (give_valid[TokenT]),
      .give_mask_o  (give_mask[TokenT]),
      .idle_o       (unit_idle[UnitT]),
      .rd_valid_o   (vr_valid[1]),
      .rd_addr_o    (vr_addr[1]),
      .rd_ready_i   (vr_ready[1]),
      .rd_rvalid_i  (vr_rvalid[1]),
      .rd_rdata_i   (vr_rdata[1]),
      .vb_wr_valid_o(vw_valid[3]),
      .vb_wr_addr_o (vw_addr[3]),
      .vb_wr_data_o (vw_data[3]),
      .vb_wr_ready_i(vw_ready[3]),
      .ab_valid_o   (t_ab_valid),
      .ab_addr_o    (t_ab_addr),
      .ab_ready_i   (t_ab_ready),
      .ab_rvalid_i  (t_ab_rvalid),
      .ab_data_i    (ab_t),
      .wr_valid_o   (t_wr_valid),
      .wr_addr_o    (t_wr_addr),
      .wr_data_o    (t_wr_data),
      .wr_strb_o    (t_wr_strb),
      .wr_ready_i   (t_wr_ready),
      .wr_busy_i    (wr_busy),
      .x_want_o,
      .x_words_o,
      .x_turn_i,
      .x_out_valid_o,
      .x_out_data_o,
      .x_out_ready_i,
      .x_in_valid_i,
      .x_in_data_i,
      .x_in_core_i,
      .x_in_ready_o,
      .x_in_accept_i,
      .x_end_i
  );

  // --- errors, progress, counters --------------------------------------------------------------------------------
  always_comb begin
    error_o = seq_error;
    if (load_error != 0) error_o = load_error;
    if (vb_error) error_o = ErrorBuffer;
    if (wr_error != '0) error_o = ErrorWrite;
    if (rd_error != '0) error_o = ErrorRead;
  end
  logic [Units-1:0][Events-1:0] events;
  logic [5:0] busy;
  assign busy = {seq_busy, ~whole_idle};
  always_comb begin
    events = '0;
    for (int u = 0; u < Units; u++) events[u][EventBusy] = busy[u];
    for (int u = 0; u < 4; u++) events[u][EventToken] = take_valid[u] && !take_ready[u];
    events[UnitM][EventData]  = m_waits;
    events[UnitL][EventSpace] = vw_valid[1] && !vw_ready[1];
    events[UnitS][EventSpace] = vw_valid[2] && !vw_ready[2];
    events[UnitT][EventSpace] = (t_wr_valid & ~t_wr_ready) != '0;
    events[UnitW][EventSpace] = w_stalled;
    events[UnitQ][EventData]  = inst_ready && !inst_valid;
    events[UnitQ][EventSpace] = seq_stalled;
  end
  logic [Units-1:0][Events-1:0] state_q;
  // for the watchdog and the host: a cycle late
  always_ff @(posedge clk_i) begin
    progress_o <= rst_ni && (m_beat || rvalid_i != '0 || bvalid_i != '0 || give_valid != '0 ||
        (vw_valid & vw_ready) != '0 || (vr_valid & vr_ready) != '0 || (q_in_valid & q_in_ready) != '0 ||
        (inst_valid && inst_ready));
    state_q <= events;
  end

  logic [Channels-1:0][PortBits/8-1:0] strobes;
  core_counters #(
      .Channels(Channels),
      .PortBits(PortBits)
  ) i_counters (
      .clk_i,
      .clear_i   (start_i),
      .run_i,
      .events_i  (events),
      .read_i    (rvalid_i & rready_o),
      .write_i   (wvalid_o & wready_i),
      .strb_i    (strobes),
      .counters_o(status_o.counters),
      .read_bytes_o,
      .written_bytes_o
  );
  assign strobes         = wstrb_o;
  assign status_o.tokens = token_count;
  assign status_o.state  = state_q;
  assign status_o.pc     = pc;
  // the most of all channels, one channel a cycle, for the host only
  localparam int unsigned ScanBits = Channels > 1 ? $clog2(Channels) : 1;
  logic [ScanBits-1:0] scan_q;
  logic scan_first_q;
  logic [31:0] w_here_q, k_here_q, w_most_q, k_most_q, w_level_q, k_level_q;
  always_ff @(posedge clk_i) begin
    scan_q <= (!rst_ni || scan_q == ScanBits'(Channels - 1)) ? '0 : scan_q + 1'b1;
    scan_first_q <= scan_q == '0;
    w_here_q <= w_count[scan_q];
    k_here_q <= k_count[scan_q];
    if (scan_first_q || w_here_q > w_most_q) w_most_q <= w_here_q;
    if (scan_first_q || k_here_q > k_most_q) k_most_q <= k_here_q;
    if (scan_first_q) begin
      w_level_q <= w_most_q;
      k_level_q <= k_most_q;
    end
  end
  assign status_o.w_level = w_level_q;
  assign status_o.k_level = k_level_q;

  logic unused;
  assign unused = &{1'b0, k_free, 1'b0};
endmodule
