// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Vector buffer (VB): words of 16 fp32 elements in Banks banks, word w in bank w % Banks. Each bank serves one read and one
// write a cycle, lower client number first. A read granted in cycle t answers in cycle t + 3; a write granted in cycle t is
// seen by reads granted from t + 1 on: both reach the bank through one register. Words beyond the end read as zero, and are not
// written; error_o says so two cycles after the grant.

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

  // --- arbitration: a client goes unless a lower one wants the same bank -----------------------------------------
  always_comb begin
    rd_ready_o = rd_valid_i;
    wr_ready_o = wr_valid_i;
    for (int i = 0; i < ReadClients; i++) begin
      for (int k = 0; k < i; k++) begin
        if (rd_valid_i[k] && bank_of(rd_addr_i[k]) == bank_of(rd_addr_i[i])) rd_ready_o[i] = 1'b0;
      end
    end
    for (int i = 0; i < WriteClients; i++) begin
      for (int k = 0; k < i; k++) begin
        if (wr_valid_i[k] && bank_of(wr_addr_i[k]) == bank_of(wr_addr_i[i])) wr_ready_o[i] = 1'b0;
      end
    end
  end

  // --- what each bank does in the cycle after --------------------------------------------------------------------
  logic [Banks-1:0] rd_go_q, wr_go_q;
  logic [Banks-1:0][19:0] rd_addr_q, wr_addr_q;
  logic [Banks-1:0][15:0][31:0] wr_data_q;
  logic [Banks-1:0][15:0] wr_mask_q;
  for (genvar b = 0; b < Banks; b++) begin : gen_choose
    logic rd_go, wr_go;
    logic [19:0] rd_addr, wr_addr;
    logic [15:0][31:0] wr_data;
    logic [15:0] wr_mask;
    always_comb begin
      rd_go   = 1'b0;
      rd_addr = '0;
      wr_go   = 1'b0;
      wr_addr = '0;
      wr_data = '0;
      wr_mask = '0;
      for (int i = 0; i < ReadClients; i++) begin
        if (rd_ready_o[i] && bank_of(rd_addr_i[i]) == BankWidth'(b)) begin
          rd_go = 1'b1;
          rd_addr |= rd_addr_i[i];
        end
      end
      for (int i = 0; i < WriteClients; i++) begin
        if (wr_ready_o[i] && bank_of(wr_addr_i[i]) == BankWidth'(b)) begin
          wr_go = 1'b1;
          wr_addr |= wr_addr_i[i];
          wr_data |= wr_data_i[i];
          wr_mask |= wr_mask_i[i];
        end
      end
    end
    always_ff @(posedge clk_i) begin
      rd_go_q[b]   <= rst_ni && rd_go;
      wr_go_q[b]   <= rst_ni && wr_go;
      rd_addr_q[b] <= rd_addr;
      wr_addr_q[b] <= wr_addr;
      if (wr_go) wr_data_q[b] <= wr_data;  // an idle bank's data hold still
      wr_mask_q[b] <= wr_mask;
    end
  end

  // --- banks -----------------------------------------------------------------------------------------------------
  logic [Banks-1:0][15:0][31:0] bank_q;
  logic [Banks-1:0] rd_beyond, wr_beyond, beyond_q;
  for (genvar b = 0; b < Banks; b++) begin : gen_bank
    (* ram_style = "ultra" *) logic [15:0][31:0] mem[Rows];
    assign rd_beyond[b] = 32'(rd_addr_q[b]) >= Words;
    assign wr_beyond[b] = 32'(wr_addr_q[b]) >= Words;
    always_ff @(posedge clk_i) begin
      if (rd_go_q[b]) begin
        bank_q[b]   <= mem[RowWidth'(rd_addr_q[b]>>LogBanks)];
        beyond_q[b] <= rd_beyond[b];
      end
      if (wr_go_q[b] && !wr_beyond[b]) begin
        for (int e = 0; e < 16; e++) begin
          if (wr_mask_q[b][e]) mem[RowWidth'(wr_addr_q[b]>>LogBanks)][e] <= wr_data_q[b][e];
        end
      end
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
      if (grant_q2[i]) rd_rdata_o[i] <= beyond_q[from_q2[i]] ? '0 : bank_q[from_q2[i]];
    end
    error_q <= rst_ni && ((rd_go_q & rd_beyond) != '0 || (wr_go_q & wr_beyond) != '0);
  end
  assign error_o = error_q;
endmodule
