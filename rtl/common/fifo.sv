// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Synchronous FIFO with valid/ready on both sides; the oldest entry stands at the output (fall-through read). Depth may be any
// number from 1 up.

module fifo #(
    parameter int unsigned Width = 8,
    parameter int unsigned Depth = 4,
    localparam int unsigned CountWidth = $clog2(Depth + 1)
) (
    input  logic                  clk_i,
    input  logic                  rst_ni,
    input  logic                  in_valid_i,
    input  logic [     Width-1:0] in_data_i,
    output logic                  in_ready_o,
    output logic                  out_valid_o,
    output logic [     Width-1:0] out_data_o,
    input  logic                  out_ready_i,
    output logic [CountWidth-1:0] count_o
);
  localparam int unsigned PtrWidth = (Depth > 1) ? $clog2(Depth) : 1;

  logic [Width-1:0] mem[Depth];
  logic [PtrWidth-1:0] read_q, write_q;
  logic [CountWidth-1:0] count_q;
  logic push, pop;
  logic valid_q, many_q;  // count_q is not 0, is above 1
  logic room_q, space_q;  // it is below Depth, below Depth - 1

  function automatic logic [PtrWidth-1:0] next(logic [PtrWidth-1:0] p);
    return (p == PtrWidth'(Depth - 1)) ? '0 : p + PtrWidth'(1);
  endfunction

  assign in_ready_o  = room_q;
  assign out_valid_o = valid_q;
  assign out_data_o  = mem[read_q];
  assign count_o     = count_q;
  assign push        = in_valid_i && in_ready_o;
  assign pop         = out_valid_o && out_ready_i;

  always_ff @(posedge clk_i) begin
    if (push) mem[write_q] <= in_data_i;
    if (!rst_ni) begin
      read_q  <= '0;
      write_q <= '0;
      count_q <= '0;
      valid_q <= 1'b0;
      many_q  <= 1'b0;
      room_q  <= 1'b1;
      space_q <= Depth > 1;
    end else begin
      // whether the count changes may come late; how it would change does not
      if (push != pop) count_q <= push ? count_q + CountWidth'(1) : count_q - CountWidth'(1);
      if (push != pop) many_q <= push ? valid_q : 32'(count_q) > 32'd2;
      // the same from the other end
      if (push != pop) space_q <= pop ? room_q : 32'(count_q) + 32'd3 <= 32'(Depth);
      room_q <= pop || space_q || (room_q && !push);
      valid_q <= push || many_q || (valid_q && !out_ready_i);
      if (push) write_q <= next(write_q);
      if (pop) read_q <= next(read_q);
    end
  end
endmodule
