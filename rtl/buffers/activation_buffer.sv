// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Activation buffer (AB): windows of 16 int8 codes, in two copies (one per token lane of the matrix unit), each with a bank
// of even and one of odd windows. Two neighbouring windows are written a cycle. Reads answer two cycles after the address;
// port T reads copy A when the matrix unit does not.

module activation_buffer #(
    parameter int unsigned Windows = 1024
) (
    input  logic                clk_i,
    input  logic                rst_ni,
    // write: windows addr and addr + 1
    input  logic                wr_valid_i,
    input  logic [ 19:0]        wr_addr_i,
    input  logic [  1:0][127:0] wr_data_i,
    input  logic [  1:0]        wr_mask_i,
    // matrix unit
    input  logic                m_valid_i,
    input  logic [ 19:0]        a_addr_i,
    input  logic [ 19:0]        b_addr_i,
    output logic [127:0]        a_data_o,
    output logic [127:0]        b_data_o,
    // store unit
    input  logic                t_valid_i,
    input  logic [ 19:0]        t_addr_i,
    output logic                t_ready_o,
    output logic                t_rvalid_o,
    output logic [127:0]        t_data_o
);
  localparam int unsigned Rows = (Windows + 1) / 2;
  localparam int unsigned RowWidth = $clog2(Rows);

  // the window of each parity that is written
  logic [1:0] we;
  logic [1:0][RowWidth-1:0] wrow;
  logic [1:0][127:0] wdata;
  always_comb begin
    we[wr_addr_i[0]]     = wr_valid_i && wr_mask_i[0];
    we[!wr_addr_i[0]]    = wr_valid_i && wr_mask_i[1];
    wdata[wr_addr_i[0]]  = wr_data_i[0];
    wdata[!wr_addr_i[0]] = wr_data_i[1];
    wrow[wr_addr_i[0]]   = RowWidth'(wr_addr_i >> 1);
    wrow[!wr_addr_i[0]]  = RowWidth'((wr_addr_i + 20'd1) >> 1);
  end

  logic [1:0][19:0] addr;  // [copy]
  assign addr[0]   = m_valid_i ? a_addr_i : t_addr_i;
  assign addr[1]   = b_addr_i;
  assign t_ready_o = !m_valid_i;

  logic [1:0][127:0] data_q;
  for (genvar copy = 0; copy < 2; copy++) begin : gen_copy
    (* ram_style = "ultra" *)logic [127:0] even[Rows];
    (* ram_style = "ultra" *)logic [127:0] odd [Rows];
    logic [127:0] even_q, odd_q;
    logic parity_q, read, read_q;
    assign read = m_valid_i || (copy == 0 && t_valid_i);
    always_ff @(posedge clk_i) begin
      if (we[0]) even[wrow[0]] <= wdata[0];
      if (we[1]) odd[wrow[1]] <= wdata[1];
      read_q <= read;
      if (read) begin
        even_q   <= even[RowWidth'(addr[copy]>>1)];
        odd_q    <= odd[RowWidth'(addr[copy]>>1)];
        parity_q <= addr[copy][0];
      end
      if (read_q) data_q[copy] <= parity_q ? odd_q : even_q;
    end
  end

  logic t_q, t_q2;
  always_ff @(posedge clk_i) begin
    t_q  <= rst_ni && t_valid_i && t_ready_o;
    t_q2 <= rst_ni && t_q;
  end
  assign a_data_o   = data_q[0];
  assign b_data_o   = data_q[1];
  assign t_data_o   = data_q[0];
  assign t_rvalid_o = t_q2;
endmodule
