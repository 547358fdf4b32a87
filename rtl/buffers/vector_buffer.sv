// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Vector buffer (VB): words of 16 fp32 elements in Banks banks, word w in bank w % Banks. Each bank serves one read and one
// write a cycle, lower client number first. A read granted in cycle t answers in cycle t + 3; a write granted in cycle t is
// seen by reads granted from t + 1 on. Words beyond the end read as zero, and are not written; error_o says so.

module vector_buffer #(
    parameter int unsigned Words        = 1024,
    parameter int unsigned Banks        = 4,
    parameter int unsigned ReadClients  = 6,
    parameter int unsigned WriteClients = 4
) (
    input  logic                                clk_i,
    input  logic                                rst_ni,
    input  logic [ ReadClients-1:0]             rd_valid_i,
    input  logic [ ReadClients-1:0][19:0]       rd_addr_i,
    output logic [ ReadClients-1:0]             rd_ready_o,
    output logic [ ReadClients-1:0]             rd_rvalid_o,
    output logic [ ReadClients-1:0][15:0][31:0] rd_rdata_o,
    input  logic [WriteClients-1:0]             wr_valid_i,
    input  logic [WriteClients-1:0][19:0]       wr_addr_i,
    input  logic [WriteClients-1:0][15:0][31:0] wr_data_i,
    input  logic [WriteClients-1:0][15:0]       wr_mask_i,
    output logic [WriteClients-1:0]             wr_ready_o,
    output logic                                error_o
);
  localparam int unsigned LogBanks = $clog2(Banks);
  localparam int unsigned Rows = (Words + Banks - 1) / Banks;
  localparam int unsigned RowWidth = $clog2(Rows);
  localparam int unsigned BankWidth = (LogBanks > 0) ? LogBanks : 1;

  function automatic logic [BankWidth-1:0] bank_of(logic [19:0] addr);
    return BankWidth'(addr & 20'(Banks - 1));
  endfunction

  // --- arbitration: each bank by itself, lower client first ------------------------------------------------------
  logic [Banks-1:0] rd_go, wr_go, rd_beyond, wr_beyond;
  logic [Banks-1:0][19:0] rd_addr, wr_addr;
  logic [Banks-1:0][15:0][31:0] wr_data;
  logic [Banks-1:0][15:0] wr_mask;
  logic [Banks-1:0][ReadClients-1:0] rd_grant;
  logic [Banks-1:0][WriteClients-1:0] wr_grant;
  for (genvar b = 0; b < Banks; b++) begin : gen_choose
    logic [ ReadClients-1:0] rd_ask;
    logic [WriteClients-1:0] wr_ask;
    always_comb begin
      for (int i = 0; i < ReadClients; i++) rd_ask[i] = rd_valid_i[i] && bank_of(rd_addr_i[i]) == BankWidth'(b);
      for (int i = 0; i < WriteClients; i++) wr_ask[i] = wr_valid_i[i] && bank_of(wr_addr_i[i]) == BankWidth'(b);
      rd_grant[b] = rd_ask & (~rd_ask + ReadClients'(1));  // the lowest bit that is set
      wr_grant[b] = wr_ask & (~wr_ask + WriteClients'(1));
      rd_go[b] = rd_ask != '0;
      wr_go[b] = wr_ask != '0;
      rd_addr[b] = '0;
      rd_beyond[b] = 1'b0;
      wr_addr[b] = '0;
      wr_beyond[b] = 1'b0;
      wr_data[b] = '0;
      wr_mask[b] = '0;
      for (int i = 0; i < ReadClients; i++) begin
        if (rd_grant[b][i]) begin
          rd_addr[b]   = rd_addr_i[i];
          rd_beyond[b] = 32'(rd_addr_i[i]) >= Words;
        end
      end
      for (int i = 0; i < WriteClients; i++) begin
        if (wr_grant[b][i]) begin
          wr_addr[b]   = wr_addr_i[i];
          wr_beyond[b] = 32'(wr_addr_i[i]) >= Words;
          wr_data[b]   = wr_data_i[i];
          wr_mask[b]   = wr_mask_i[i];
        end
      end
    end
  end
  always_comb begin
    rd_ready_o = '0;
    wr_ready_o = '0;
    for (int b = 0; b < Banks; b++) begin
      rd_ready_o |= rd_grant[b];
      wr_ready_o |= wr_grant[b];
    end
  end

  // --- banks -----------------------------------------------------------------------------------------------------
  logic [Banks-1:0][15:0][31:0] bank_q, bank_q2;
  logic [Banks-1:0] beyond_q;
  for (genvar b = 0; b < Banks; b++) begin : gen_bank
    (* ram_style = "ultra" *) logic [15:0][31:0] mem[Rows];
    always_ff @(posedge clk_i) begin
      if (rd_go[b]) begin
        bank_q[b]   <= mem[RowWidth'(rd_addr[b]>>LogBanks)];
        beyond_q[b] <= rd_beyond[b];
      end
      if (wr_go[b] && !wr_beyond[b]) begin
        for (int e = 0; e < 16; e++) if (wr_mask[b][e]) mem[RowWidth'(wr_addr[b]>>LogBanks)][e] <= wr_data[b][e];
      end
      bank_q2[b] <= beyond_q[b] ? '0 : bank_q[b];
    end
  end

  // --- answers ---------------------------------------------------------------------------------------------------
  logic [ReadClients-1:0] grant_q, grant_q2;
  logic [ReadClients-1:0][BankWidth-1:0] from_q, from_q2;
  logic error_q;
  always_ff @(posedge clk_i) begin
    grant_q <= rst_ni ? rd_ready_o : '0;
    grant_q2 <= rst_ni ? grant_q : '0;
    rd_rvalid_o <= rst_ni ? grant_q2 : '0;
    for (int i = 0; i < ReadClients; i++) begin
      from_q[i]  <= bank_of(rd_addr_i[i]);
      from_q2[i] <= from_q[i];
      if (grant_q2[i]) rd_rdata_o[i] <= bank_q2[from_q2[i]];
    end
    error_q <= 1'b0;
    for (int b = 0; b < Banks; b++) begin
      if ((rd_go[b] && rd_beyond[b]) || (wr_go[b] && wr_beyond[b])) error_q <= rst_ni;
    end
  end
  assign error_o = error_q;
endmodule
