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

  // --- arbitration -----------------------------------------------------------------------------------------------
  logic [Banks-1:0] rd_go, wr_go;
  logic [Banks-1:0][19:0] rd_addr, wr_addr;
  logic [Banks-1:0][15:0][31:0] wr_data;
  logic [Banks-1:0][15:0] wr_mask;
  always_comb begin
    rd_go = '0;
    wr_go = '0;
    rd_addr = '0;
    wr_addr = '0;
    wr_data = '0;
    wr_mask = '0;
    rd_ready_o = '0;
    wr_ready_o = '0;
    for (int i = 0; i < ReadClients; i++) begin
      if (rd_valid_i[i] && !rd_go[bank_of(rd_addr_i[i])]) begin
        rd_go[bank_of(rd_addr_i[i])]   = 1'b1;
        rd_addr[bank_of(rd_addr_i[i])] = rd_addr_i[i];
        rd_ready_o[i]                  = 1'b1;
      end
    end
    for (int i = 0; i < WriteClients; i++) begin
      if (wr_valid_i[i] && !wr_go[bank_of(wr_addr_i[i])]) begin
        wr_go[bank_of(wr_addr_i[i])]   = 1'b1;
        wr_addr[bank_of(wr_addr_i[i])] = wr_addr_i[i];
        wr_data[bank_of(wr_addr_i[i])] = wr_data_i[i];
        wr_mask[bank_of(wr_addr_i[i])] = wr_mask_i[i];
        wr_ready_o[i]                  = 1'b1;
      end
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
        beyond_q[b] <= 32'(rd_addr[b]) >= Words;
      end
      if (wr_go[b] && 32'(wr_addr[b]) < Words) begin
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
      if ((rd_go[b] && 32'(rd_addr[b]) >= Words) || (wr_go[b] && 32'(wr_addr[b]) >= Words)) error_q <= rst_ni;
    end
  end
  assign error_o = error_q;
endmodule
