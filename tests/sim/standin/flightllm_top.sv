// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// A small kernel with the ports of the real one, to test the simulator without it. The first 64 bytes of its "program" are 32-bit
// words: address of the ids, address and stride of the logits (all below 4 GB), what to do. It reads the ids on channel 0 of each core
// and writes, for each wanted token, 64 bytes on every channel: word w of channel number p of token t is
// {id[t] + pos, 4'masken, p, w}.

module flightllm_top
  import flightllm_config_pkg::Cores, flightllm_config_pkg::Channels, flightllm_config_pkg::PortBits, flightllm_config_pkg::Digest;
#(
    localparam int unsigned N = Cores * Channels
) (
    input  logic                         clk_i,
    input  logic                         rst_ni,
    input  logic                         s_axil_awvalid_i,
    output logic                         s_axil_awready_o,
    input  logic [15:0]                  s_axil_awaddr_i,
    input  logic                         s_axil_wvalid_i,
    output logic                         s_axil_wready_o,
    input  logic [31:0]                  s_axil_wdata_i,
    input  logic [3:0]                   s_axil_wstrb_i,
    output logic                         s_axil_bvalid_o,
    input  logic                         s_axil_bready_i,
    output logic [1:0]                   s_axil_bresp_o,
    input  logic                         s_axil_arvalid_i,
    output logic                         s_axil_arready_o,
    input  logic [15:0]                  s_axil_araddr_i,
    output logic                         s_axil_rvalid_o,
    input  logic                         s_axil_rready_i,
    output logic [31:0]                  s_axil_rdata_o,
    output logic [1:0]                   s_axil_rresp_o,
    output logic                         interrupt_o,
    output logic [N-1:0]                 m_axi_arvalid_o,
    input  logic [N-1:0]                 m_axi_arready_i,
    output logic [N-1:0][63:0]           m_axi_araddr_o,
    output logic [N-1:0][7:0]            m_axi_arlen_o,
    output logic [N-1:0][3:0]            m_axi_arid_o,
    input  logic [N-1:0]                 m_axi_rvalid_i,
    output logic [N-1:0]                 m_axi_rready_o,
    input  logic [N-1:0][PortBits-1:0]   m_axi_rdata_i,
    input  logic [N-1:0][3:0]            m_axi_rid_i,
    input  logic [N-1:0][1:0]            m_axi_rresp_i,
    input  logic [N-1:0]                 m_axi_rlast_i,
    output logic [N-1:0]                 m_axi_awvalid_o,
    input  logic [N-1:0]                 m_axi_awready_i,
    output logic [N-1:0][63:0]           m_axi_awaddr_o,
    output logic [N-1:0][7:0]            m_axi_awlen_o,
    output logic [N-1:0][3:0]            m_axi_awid_o,
    output logic [N-1:0]                 m_axi_wvalid_o,
    input  logic [N-1:0]                 m_axi_wready_i,
    output logic [N-1:0][PortBits-1:0]   m_axi_wdata_o,
    output logic [N-1:0][PortBits/8-1:0] m_axi_wstrb_o,
    output logic [N-1:0]                 m_axi_wlast_o,
    input  logic [N-1:0]                 m_axi_bvalid_i,
    output logic [N-1:0]                 m_axi_bready_o,
    input  logic [N-1:0][3:0]            m_axi_bid_i,
    input  logic [N-1:0][1:0]            m_axi_bresp_i
);
  import flightllm_control_pkg::*;
  localparam int unsigned Parts = 512 / PortBits;
  localparam int unsigned Ids = 64;
  function automatic logic [N-1:0] first_channels();
    logic [N-1:0] mask;
    mask = '0;
    for (int k = 0; k < Cores; k++) mask[k*Channels] = 1'b1;
    return mask;
  endfunction
  localparam logic [N-1:0] FirstChannels = first_channels();

  function automatic logic [Cores-1:0] first_of(logic [N-1:0] all);
    for (int k = 0; k < Cores; k++) first_of[k] = all[k*Channels];
  endfunction

  // what to do
  localparam logic [31:0] DoError = 32'd1;
  localparam logic [31:0] DoNothing = 32'd2;
  localparam logic [31:0] DoWrongAddress = 32'd3;
  localparam logic [31:0] DoFail = 32'd4;

  logic start, running, soft_reset, done, rst_n;
  logic [3:0] error;
  logic [31:0] pos, ntok, nlog, masken, program_len, watchdog;
  logic [39:0] program_addr;
  logic [N-1:0][63:0] base, read_bytes, written_bytes;
  core_status_t [Cores-1:0] status;
  logic [Units-1:0][Events-1:0] events;
  assign rst_n = rst_ni && !soft_reset;

  axil_control #(
      .Cores(Cores),
      .Channels(Channels),
      .Digest(Digest),
      .Vpus(flightllm_config_pkg::Vpus),
      .Lanes(flightllm_config_pkg::Lanes)
  ) i_control (
      .*,
      .start_o(start),
      .running_o(running),
      .soft_reset_o(soft_reset),
      .done_i(done),
      .error_i(error),
      .error_core_i(2'(Cores - 1)),
      .pos_o(pos),
      .ntok_o(ntok),
      .nlog_o(nlog),
      .masken_o(masken),
      .program_addr_o(program_addr),
      .program_len_o(program_len),
      .watchdog_o(watchdog),
      .base_o(base),
      .status_i(status),
      .read_bytes_i(read_bytes),
      .written_bytes_i(written_bytes)
  );

  typedef enum logic [2:0] {
    StOff,
    StAsk,
    StProgram,
    StAskIds,
    StIds,
    StWrite,
    StAnswer
  } state_e;
  state_e state_q;
  logic [15:0][31:0] words_q;
  logic [Ids-1:0][31:0] ids_q;
  logic [7:0] part_q, beats;
  logic [31:0] token_q, idle_q;
  logic [N-1:0] aw_q, w_q, b_q;
  logic [N-1:0][7:0] wpart_q;
  logic all_in;
  assign beats = state_q == StAsk ? 8'(Parts) : 8'(((ntok + 15) >> 4) * Parts);
  logic [31:0] skipped;  // rows before this token's
  assign skipped = token_q - (ntok - nlog);
  assign all_in = (aw_q | w_q | b_q) == 0;

  // every core's channel 0 reads the same; core 0's copy is used, the others must agree
  logic [Cores-1:0] ar_q;
  logic same;
  always_comb begin
    same = 1'b1;
    m_axi_arvalid_o = '0;
    m_axi_araddr_o = '0;
    m_axi_arlen_o = '0;
    m_axi_arid_o = '0;
    m_axi_rready_o = '0;
    for (int k = 0; k < Cores; k++) begin
      m_axi_arvalid_o[k*Channels] = ar_q[k];
      m_axi_arlen_o[k*Channels] = beats - 8'd1;
      m_axi_araddr_o[k*Channels] = base[k*Channels] + (state_q == StAsk ? 64'(program_addr) : 64'(words_q[0]));
      m_axi_rready_o[k*Channels] = (state_q == StProgram || state_q == StIds) && &(m_axi_rvalid_i | ~FirstChannels);
      if (m_axi_rdata_i[k*Channels] != m_axi_rdata_i[0]) same = 1'b0;
    end
  end
  always_comb begin
    for (int p = 0; p < N; p++) begin
      m_axi_awaddr_o[p] = base[p] + 64'(words_q[1]) + 64'(words_q[2]) * 64'(skipped);
      if (words_q[3] == DoWrongAddress) m_axi_awaddr_o[p] = '0;
      m_axi_awlen_o[p] = 8'(Parts - 1);
      m_axi_awid_o[p] = '0;
      m_axi_wstrb_o[p] = '1;
      m_axi_wlast_o[p] = wpart_q[p] == 8'(Parts - 1);
      for (int w = 0; w < PortBits / 32; w++) begin
        m_axi_wdata_o[p][32*w+:32] = {16'(ids_q[6'(token_q)] + pos), 4'(masken), 7'(p), 5'(32'(wpart_q[p]) * (PortBits / 32) + w)};
      end
    end
  end
  assign m_axi_awvalid_o = aw_q;
  assign m_axi_wvalid_o  = w_q;
  assign m_axi_bready_o  = '1;

  always_ff @(posedge clk_i) begin
    done   <= 1'b0;
    error  <= '0;
    idle_q <= running && state_q == StAnswer && words_q[3] == DoNothing ? idle_q + 1 : '0;
    if (!rst_n) begin
      state_q <= StOff;
      ar_q <= '0;
      {aw_q, w_q, b_q} <= '0;
    end else begin
      ar_q <= ar_q & ~first_of(m_axi_arready_i);
      aw_q <= aw_q & ~m_axi_awready_i;
      for (int p = 0; p < N; p++) begin
        if (w_q[p] && m_axi_wready_i[p]) begin
          wpart_q[p] <= wpart_q[p] + 8'd1;
          if (m_axi_wlast_o[p]) w_q[p] <= 1'b0;
        end
        if (m_axi_bvalid_i[p]) b_q[p] <= 1'b0;
        if (m_axi_bvalid_i[p] && m_axi_bresp_i[p] != 0) error <= 4'd3;
      end
      unique case (state_q)
        StOff:
        if (start) begin
          state_q <= StAsk;
          ar_q <= '1;
          part_q <= '0;
        end
        StAsk, StAskIds: if (ar_q == 0) state_q <= state_q == StAsk ? StProgram : StIds;
        StProgram:
        if (m_axi_rvalid_i[0] && m_axi_rready_o[0]) begin
          words_q[32'(part_q)*(16/Parts)+:16/Parts] <= m_axi_rdata_i[0];
          part_q <= part_q + 8'd1;
          if (m_axi_rlast_i[0]) begin
            state_q <= StAskIds;
            ar_q <= '1;
            part_q <= '0;
          end
        end
        StIds:
        if (m_axi_rvalid_i[0] && m_axi_rready_o[0]) begin
          ids_q[32'(part_q)*(16/Parts)+:16/Parts] <= m_axi_rdata_i[0];
          part_q <= part_q + 8'd1;
          if (m_axi_rlast_i[0]) begin
            state_q <= StWrite;
            token_q <= ntok - nlog;
          end
        end
        StWrite:
        if (token_q == ntok) begin
          if (words_q[3] == DoError || program_len == 0) error <= 4'd1;
          else if (words_q[3] == DoNothing) state_q <= StAnswer;
          else done <= 1'b1;
          if (words_q[3] != DoNothing) state_q <= StOff;
        end else begin
          aw_q <= '1;
          w_q <= '1;
          b_q <= '1;
          wpart_q <= '0;
          state_q <= StAnswer;
        end
        StAnswer:
        if (all_in && token_q != ntok) begin
          token_q <= token_q + 1;
          state_q <= StWrite;
        end
        default: state_q <= StOff;
      endcase
      if (m_axi_rvalid_i[0] && m_axi_rready_o[0] && m_axi_rresp_i[0] != 0) error <= 4'd2;
      if (watchdog != 0 && idle_q == watchdog) error <= 4'd5;
      if (error != 0 && error != 4'd5) state_q <= StOff;  // the watchdog leaves things as they stand
    end
    if (rst_n && m_axi_rvalid_i[0] && m_axi_rready_o[0]) begin
      assert (same && m_axi_rid_i[0] == 0)
      else $error("cores read different bytes");
    end
    assert (!(rst_n && state_q == StWrite && words_q[3] == DoFail))
    else $error("told to fail");
  end
  always_comb begin
    events = '0;
    events[flightllm_isa_pkg::UnitQ][EventBusy] = running;
    events[flightllm_isa_pkg::UnitQ][EventData] = state_q == StProgram;
    events[flightllm_isa_pkg::UnitT][EventBusy] = state_q == StWrite || state_q == StAnswer;
    events[flightllm_isa_pkg::UnitT][EventToken] = state_q == StAnswer;
  end
  for (genvar k = 0; k < Cores; k++) begin : gen_core
    localparam int unsigned First = k * Channels;
    logic [Units-1:0][Events-1:0][63:0] counters;
    core_counters #(
        .Channels(Channels),
        .PortBits(PortBits)
    ) i_counters (
        .clk_i,
        .clear_i(start),
        .run_i(running),
        .events_i(events),
        .read_i(m_axi_rvalid_i[First+:Channels] & m_axi_rready_o[First+:Channels]),
        .write_i(m_axi_wvalid_o[First+:Channels] & m_axi_wready_i[First+:Channels]),
        .strb_i(m_axi_wstrb_o[First+:Channels]),
        .counters_o(counters),
        .read_bytes_o(read_bytes[First+:Channels]),
        .written_bytes_o(written_bytes[First+:Channels])
    );
    assign status[k] = '{
        counters: counters,
        tokens: 128'h100f0e0d0c0b0a090807060504030201 + 128'(k),
        k_level: 32'd7,
        w_level: 32'd1000 + k,
        state: events,
        pc: 32'(state_q)
    };
  end
endmodule
