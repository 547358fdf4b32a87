// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Generated from flightllm/kernel/control_map.py by `python -m flightllm.kernel.control_map`. Do not edit.
// Register map of the kernel (docs/registers.md).

package flightllm_control_pkg;

  /* verilator lint_off UNUSEDPARAM */  // the map names everything, whatever a module uses of it
  localparam logic [15:0] AddrApCtrl = 16'h0000;
  localparam logic [15:0] AddrGie = 16'h0004;
  localparam logic [15:0] AddrIer = 16'h0008;
  localparam logic [15:0] AddrIsr = 16'h000c;
  localparam logic [15:0] AddrPos = 16'h0010;
  localparam logic [15:0] AddrNtok = 16'h0018;
  localparam logic [15:0] AddrNlog = 16'h0020;
  localparam logic [15:0] AddrMasken = 16'h0028;
  localparam logic [15:0] AddrProgram = 16'h0030;
  localparam logic [15:0] AddrInstructions = 16'h003c;
  localparam logic [15:0] AddrWatchdog = 16'h0044;
  localparam logic [15:0] AddrSoftReset = 16'h004c;
  localparam logic [15:0] AddrError = 16'h0054;
  localparam logic [15:0] AddrBuild = 16'h0064;
  localparam logic [15:0] AddrFlavour = 16'h0074;
  localparam logic [15:0] AddrDigest = 16'h0084;
  localparam logic [15:0] AddrCycles = 16'h009c;
  localparam logic [31:0] ResetWatchdog = 32'd1048576;

  localparam logic [15:0] AddrBase = 16'h00b4;  // + BaseStride * port
  localparam int unsigned BaseStride = 12;
  localparam int unsigned MaxPorts = 120;

  localparam logic [31:0] FlavourRtl = 32'd0;
  localparam logic [31:0] FlavourHls = 32'd1;

  // One core: AddrCore + 256 * core + ...
  localparam logic [15:0] AddrCore = 16'h0800;
  localparam logic [7:0] CorePc = 8'h00;
  localparam logic [7:0] CoreState = 8'h04;
  localparam logic [7:0] CoreWLevel = 8'h08;
  localparam logic [7:0] CoreKLevel = 8'h0c;
  localparam logic [7:0] CoreTokensL = 8'h10;
  localparam logic [7:0] CoreTokensM = 8'h14;
  localparam logic [7:0] CoreTokensS = 8'h18;
  localparam logic [7:0] CoreTokensT = 8'h1c;
  localparam logic [7:0] CoreCounters = 8'h40;  // + 32 * unit + 8 * event

  // One channel: AddrTraffic + 16 * port: bytes read, bytes written
  localparam logic [15:0] AddrTraffic = 16'h1000;

  // Counted events of a unit (docs/registers.md); units are numbered as in flightllm_isa_pkg::unit_e.
  localparam int unsigned Units = 6;
  localparam int unsigned Events = 4;
  localparam int unsigned EventBusy = 0;
  localparam int unsigned EventToken = 1;
  localparam int unsigned EventData = 2;
  localparam int unsigned EventSpace = 3;

  localparam logic [3:0] ErrorIllegal = 4'd1;  // illegal instruction
  localparam logic [3:0] ErrorRead = 4'd2;  // AXI read error
  localparam logic [3:0] ErrorWrite = 4'd3;  // AXI write error
  localparam logic [3:0] ErrorTokenId = 4'd4;  // token id outside the table
  localparam logic [3:0] ErrorWatchdog = 4'd5;  // watchdog: no unit did anything
  localparam logic [3:0] ErrorHalt = 4'd6;  // HALT with tokens or ring contents left
  localparam logic [3:0] ErrorBuffer = 4'd7;  // access beyond the end of the vector buffer
  /* verilator lint_on UNUSEDPARAM */

  // What the host can read about one core.
  typedef struct packed {
    logic [Units-1:0][Events-1:0][63:0] counters;
    logic [3:0][3:0][7:0]               tokens;    // [source][destination]
    logic [31:0]                        k_level;   // words of 8 bytes
    logic [31:0]                        w_level;
    logic [Units-1:0][Events-1:0]       state;     // the events of this cycle
    logic [31:0]                        pc;
  } core_status_t;

endpackage
