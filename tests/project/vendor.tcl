# Stand-ins for the commands of Vivado that generated scripts use: they know each command's options (UG835, UG1118, UG1393), the pins of
# each IP and how many objects there are, and end the script with an error where Vivado would not do what was meant.
# tclsh vendor.tcl RECORDS SCRIPT [ARGUMENT ...]: every call is a line of RECORDS, its words separated by 0x1f.

namespace eval ipx {}
set records [open [lindex $argv 0] w]
proc record {args} {
    puts $::records [string map {\n " "} [join $args \x1f]]
}

# vendor NAME {options with a value} {flags} {least most words} {body}: in the body, $opt has the options and $words the rest
proc vendor {name valued flags count body} {
    proc $name {args} "set opt \[options [list $name] [list $valued] [list $flags] \$args words]
        lassign [list $count] least most
        if {\[llength \$words] < \$least || \[llength \$words] > \$most} {
            error \"$name: \[llength \$words] words besides options, not \$least to \$most: \$args\"
        }
        record $name {*}\$args
        $body"
}
proc options {name valued flags given wordsvar} {
    upvar 1 $wordsvar words
    set opt {}
    set words {}
    for {set i 0} {$i < [llength $given]} {incr i} {
        set word [lindex $given $i]
        if {$word in $valued} {
            incr i
            if {$i == [llength $given]} {
                error "$name: no value behind $word"
            }
            dict set opt $word [lindex $given $i]
        } elseif {$word in $flags} {
            dict set opt $word 1
        } elseif {[regexp {^-[A-Za-z_]+$} $word]} {
            error "$name: unknown option $word"
        } else {
            lappend words $word
        }
    }
    return $opt
}
proc need {name opt args} {
    foreach option $args {
        if {![dict exists $opt $option]} {
            error "$name: no $option"
        }
    }
}

# --- properties ---------------------------------------------------------------------------------------------------------
array set property {}
# what kind of object a name is, and which properties that kind has (patterns)
array set kind {}
array set properties {
    project {board_part board_connections ip_repo_paths}
    fileset {top}
    core {name version display_name description sdx_kernel sdx_kernel_type vitis_drc ipi_drc supported_families auto_family_support_level}
    interface {slave_memory_map_ref}
    block {range}
    register {address_offset size description}
    parameter {value name}
    field {bit_offset bit_width access}
    cell {CONFIG.*}
    intf_pin {CONFIG.*}
    pin {CONFIG.ASSOCIATED_BUSIF}
    run {STEPS.*}
}
proc new {what name} {
    set ::kind($name) $what
    return $name
}
proc kind_of {name} {
    if {![info exists ::kind($name)]} {
        error "there is no object $name"
    }
    return $::kind($name)
}
proc set_property {args} {
    record set_property {*}$args
    if {[lindex $args 0] eq "-dict"} {
        if {[llength $args] != 3} {
            error "set_property -dict: [llength $args] words"
        }
        lassign $args _ pairs objects
        if {[llength $pairs] % 2} {
            error "set_property -dict: odd list: $pairs"
        }
    } elseif {[llength $args] == 3} {
        set pairs [lrange $args 0 1]
        set objects [lindex $args 2]
    } else {
        error "set_property: [llength $args] words: $args"
    }
    if {[llength $objects] == 0} {
        error "set_property: no objects"
    }
    foreach object $objects {
        set kind [kind_of $object]
        foreach {name value} $pairs {
            set known 0
            foreach pattern $::properties($kind) {
                if {[string match $pattern $name]} {
                    set known 1
                }
            }
            if {!$known} {
                error "a $kind has no property $name"
            }
            set ::property($object,$name) $value
        }
    }
}
proc get_property {args} {
    set opt [options get_property {} {-quiet} $args words]
    lassign $words name object
    if {[llength $words] != 2} {
        error "get_property: $args"
    }
    kind_of $object
    return [expr {[info exists ::property($object,$name)] ? $::property($object,$name) : ""}]
}
proc property_or {object name default} {
    return [expr {[info exists ::property($object,$name)] ? $::property($object,$name) : $default}]
}

# --- projects, files, runs ------------------------------------------------------------------------------------------------
set sources {}
vendor create_project {-part} {-force} {1 2} {
    need create_project $opt -part
    new project [lindex $words 0]
    set ::project [lindex $words 0]
    set ::project_dir [lindex $words 1]
}
vendor current_project {} {-quiet} {0 0} {return $::project}
vendor close_project {} {-delete} {0 0} {}
vendor add_files {-fileset} {-norecurse -quiet} {1 1} {
    foreach file [lindex $words 0] {
        if {![file exists $file]} {
            error "add_files: no file $file"
        }
        lappend ::sources $file
    }
}
vendor current_fileset {} {} {0 0} {return [new fileset sources_1]}
vendor update_compile_order {-fileset} {} {0 0} {}
vendor update_ip_catalog {} {-rebuild} {0 0} {
    foreach folder [property_or $::project ip_repo_paths {}] {
        if {![file isdirectory $folder]} {
            error "ip_repo_paths: no folder $folder"
        }
    }
}
vendor get_files {} {-quiet} {1 1} {return [lindex $words 0]}
vendor make_wrapper {-files} {-top} {0 0} {
    need make_wrapper $opt -files -top
    set path [file join $::project_dir wrapper.v]
    file mkdir $::project_dir
    close [open $path w]
    return $path
}
vendor generate_target {} {} {2 2} {
    set folder [file join $::project_dir $::project.gen sources_1 bd $::design_name hw_handoff]
    file mkdir $folder
    close [open [file join $folder $::design_name.hwh] w]
}
vendor get_runs {} {} {1 1} {return [new run [lindex $words 0]]}
vendor launch_runs {-to_step -jobs} {} {1 1} {
    need launch_runs $opt -to_step
    if {[dict get $opt -to_step] ni {write_bitstream write_device_image}} {
        error "launch_runs: no step [dict get $opt -to_step]"
    }
    set ::step [dict get $opt -to_step]
}
vendor wait_on_runs {} {} {1 1} {
    set folder [file join $::project_dir runs]
    file mkdir $folder
    close [open [file join $folder wrapper.[expr {$::step eq "write_bitstream" ? "bit" : "pdi"}]] w]
    set ::property([lindex $words 0],DIRECTORY) $folder
    set ::property([lindex $words 0],PROGRESS) [expr {[info exists ::env(FAKE_FAIL)] ? "37%" : "100%"}]
    set ::property([lindex $words 0],STATS.WNS) [expr {[info exists ::env(FAKE_SLACK)] ? $::env(FAKE_SLACK) : "0.011"}]
}
vendor write_hw_platform {-file} {-fixed -include_bit -force -minimal} {0 0} {need write_hw_platform $opt -file}

# ports of a Verilog file: name -> input or output
array set ports_of {}
proc verilog_ports {path} {
    if {[info exists ::ports_of($path)]} {
        return $::ports_of($path)
    }
    set file [open $path]
    set text [read $file]
    close $file
    set ports {}
    foreach {_ direction name} [regexp -all -inline {(?:^|\n)\s*(input|output)\s+wire\s+(?:\[\d+:0\]\s+)?(\w+)} $text] {
        dict set ports $name $direction
    }
    return [set ::ports_of($path) $ports]
}
array set interfaces_of {}
# AXI interfaces of such ports: name -> Slave or Master
proc axi_interfaces {ports} {
    if {[info exists ::interfaces_of($ports)]} {
        return $::interfaces_of($ports)
    }
    set found {}
    foreach {name direction} $ports {
        if {[regexp {^(.*)_awvalid$} $name _ interface]} {
            foreach signal {awready awaddr wvalid wready wdata wstrb bvalid bready bresp arvalid arready araddr rvalid rready rdata rresp} {
                if {![dict exists $ports ${interface}_$signal]} {
                    error "interface $interface has no signal $signal"
                }
            }
            dict set found $interface [expr {$direction eq "input" ? "Slave" : "Master"}]
        }
    }
    return [set ::interfaces_of($ports) $found]
}

# --- packaging an IP ------------------------------------------------------------------------------------------------------
vendor ipx::package_project {-root_dir -vendor -library -taxonomy -set_current} {-import_files -force} {0 0} {
    need ipx::package_project $opt -root_dir -vendor -library -set_current
    set top [property_or sources_1 top ""]
    set wrapper [lsearch -inline $::sources */$top.v]
    if {$wrapper eq ""} {
        error "no file with the top $top"
    }
    foreach name [dict keys [axi_interfaces [verilog_ports $wrapper]]] {
        new interface $name
    }
    new core core
    file mkdir [dict get $opt -root_dir]
}
vendor ipx::current_core {} {} {0 0} {return core}
vendor ipx::get_user_parameters {-of_objects} {} {0 1} {return [new parameter C_SOMETHING]}
vendor ipx::remove_user_parameter {} {} {2 2} {}
vendor ipx::get_bus_interfaces {-of_objects} {-quiet} {1 1} {
    need ipx::get_bus_interfaces $opt -of_objects
    set name [lindex $words 0]
    return [expr {[info exists ::kind($name)] && $::kind($name) eq "interface" ? $name : ""}]
}
vendor ipx::associate_bus_interfaces {-busif -clock -reset} {} {1 1} {
    need ipx::associate_bus_interfaces $opt -clock
    if {[dict exists $opt -busif] && [kind_of [dict get $opt -busif]] ne "interface"} {
        error "no interface [dict get $opt -busif]"
    }
}
vendor ipx::get_memory_maps {-of_objects} {-quiet} {1 1} {return ""}
vendor ipx::add_memory_map {} {-quiet} {2 2} {return [new map map:[lindex $words 0]]}
vendor ipx::get_address_blocks {-of_objects} {-quiet} {1 1} {return ""}
vendor ipx::add_address_block {} {-quiet} {2 2} {
    kind_of [lindex $words 1]
    return [new block block:[lindex $words 0]]
}
vendor ipx::add_register {} {-quiet} {2 2} {
    kind_of [lindex $words 1]
    if {[info exists ::kind(register:[lindex $words 0])]} {
        error "register [lindex $words 0] twice"
    }
    return [new register register:[lindex $words 0]]
}
vendor ipx::add_register_parameter {} {-quiet} {2 2} {
    kind_of [lindex $words 1]
    return [new parameter [lindex $words 1]/[lindex $words 0]]
}
vendor ipx::add_field {} {-quiet} {2 2} {
    kind_of [lindex $words 1]
    return [new field [lindex $words 1]/[lindex $words 0]]
}
vendor ipx::create_xgui_files {} {} {1 1} {}
vendor ipx::update_checksums {} {} {1 1} {}
vendor ipx::check_integrity {} {-kernel -quiet} {1 1} {}
vendor ipx::save_core {} {} {1 1} {}
vendor package_xo {-xo_path -kernel_name -ip_directory -kernel_xml -ctrl_protocol -output_kernel_xml} {-force} {0 0} {
    need package_xo $opt -xo_path -kernel_name -ip_directory
    foreach option {-kernel_xml -ip_directory} {
        if {[dict exists $opt $option] && ![file exists [dict get $opt $option]]} {
            error "package_xo $option: no [dict get $opt $option]"
        }
    }
}

# --- floorplan ------------------------------------------------------------------------------------------------------------
# cells that a synthesised kernel has, and pblocks of the platform, come from the environment
vendor get_cells {-filter} {-quiet -hierarchical} {0 1} {
    need get_cells $opt -filter
    if {![regexp {^NAME =~ (\S+)$} [dict get $opt -filter] _ pattern]} {
        error "get_cells: filter [dict get $opt -filter]"
    }
    set found {}
    foreach cell [split $::env(FAKE_CELLS) " "] {
        if {[string match $pattern $cell]} {
            lappend found [new cell $cell]
        }
    }
    return $found
}
vendor get_pblocks {} {-quiet} {1 1} {
    set name [lindex $words 0]
    return [expr {$name in [split $::env(FAKE_PBLOCKS) " "] ? [new pblock $name] : ""}]
}
vendor create_pblock {} {} {1 1} {return [new pblock [lindex $words 0]]}
vendor resize_pblock {-add} {} {1 1} {
    need resize_pblock $opt -add
    kind_of [lindex $words 0]
}
vendor add_cells_to_pblock {} {-quiet} {2 2} {
    if {[kind_of [lindex $words 0]] ne "pblock"} {
        error "[lindex $words 0] is no pblock"
    }
    if {[llength [lindex $words 1]] == 0} {
        error "add_cells_to_pblock: no cells"
    }
}

# --- block designs --------------------------------------------------------------------------------------------------------
array set vlnv {}
array set driver {}
array set linked {}
array set assigned {}
vendor create_bd_design {} {} {1 1} {set ::design_name [lindex $words 0]}
vendor create_bd_cell {-type -vlnv -reference} {-quiet} {1 1} {
    need create_bd_cell $opt -type
    set name [lindex $words 0]
    if {[info exists ::vlnv($name)]} {
        error "cell $name twice"
    }
    if {[dict get $opt -type] eq "ip"} {
        set what [dict get $opt -vlnv]
    } else {
        set what module:[dict get $opt -reference]
    }
    set ::vlnv($name) $what
    interfaces $name
    return [new cell $name]
}
vendor apply_bd_automation {-rule -config} {} {1 1} {
    need apply_bd_automation $opt -rule -config
    kind_of [lindex $words 0]
    switch [dict get $opt -rule] {
        xilinx.com:bd_rule:zynq_ultra_ps_e {
            if {[dict get $opt -config] ne {apply_board_preset "1"}} {
                error "automation of the processor system: [dict get $opt -config]"
            }
        }
        xilinx.com:bd_rule:cips {
            foreach key {board_preset boot_config configure_noc debug_config design_flow mc_type num_mc_ddr num_mc_lpddr pl_clocks pl_resets} {
                dict get [dict get $opt -config] $key
            }
            set ::vlnv(axi_noc_0) xilinx.com:ip:axi_noc
            new cell axi_noc_0
            set ::property(axi_noc_0,CONFIG.NUM_CLKS) 6
            foreach {port category} {S00_AXI ps_cci S01_AXI ps_cci S02_AXI ps_cci S03_AXI ps_cci S04_AXI ps_rpu S05_AXI ps_pmc} {
                new intf_pin axi_noc_0/$port
                set ::property(axi_noc_0/$port,CONFIG.CATEGORY) $category
                set ::property(axi_noc_0/$port,CONFIG.CONNECTIONS) {MC_0 {read_bw {100} write_bw {100}}}
                set ::linked(axi_noc_0/$port) cips
            }
            for {set i 0} {$i < 6} {incr i} {
                set ::driver(axi_noc_0/aclk$i) cips
            }
        }
        default {error "no automation [dict get $opt -rule]"}
    }
}

# interfaces of a cell: name -> Slave or Master; they depend on how it is configured
proc interfaces {cell} {
    set config [list apply {{cell name} {property_or $cell CONFIG.$name 0}} $cell]
    set found {}
    switch -glob $::vlnv($cell) {
        xilinx.com:ip:zynq_ultra_ps_e {
            foreach {slot port} {GP0 HPC0 GP1 HPC1 GP2 HP0 GP3 HP1 GP4 HP2 GP5 HP3} {
                if {[{*}$config PSU__USE__S_AXI_$slot]} {
                    dict set found S_AXI_${port}_FPD Slave
                }
            }
            foreach {slot port} {GP0 HPM0 GP1 HPM1} {
                if {[{*}$config PSU__USE__M_AXI_$slot]} {
                    dict set found M_AXI_${port}_FPD Master
                }
            }
        }
        xilinx.com:ip:versal_cips {
            if {[getor0 [property_or $cell CONFIG.PS_PMC_CONFIG {}] PS_USE_M_AXI_FPD]} {
                dict set found M_AXI_FPD Master
            }
        }
        xilinx.com:ip:axi_noc {
            for {set i 0} {$i < [{*}$config NUM_HBM_BLI]} {incr i} {
                dict set found [format HBM%02d_AXI $i] Slave
            }
            for {set i 0} {$i < 6} {incr i} {
                dict set found S0${i}_AXI Slave
            }
        }
        xilinx.com:ip:smartconnect {dict set found S00_AXI Slave; dict set found M00_AXI Master}
        flightllm:kernel:flightllm:1.0 {set found [axi_interfaces [verilog_ports $::env(FAKE_KERNEL)]]}
        module:* {set found [axi_interfaces [verilog_ports [module_file $cell]]]}
        xilinx.com:ip:proc_sys_reset - xilinx.com:ip:clk_wizard {}
        default {error "no IP $::vlnv($cell)"}
    }
    return $found
}
proc module_file {cell} {
    set name [string range $::vlnv($cell) 7 end]
    set file [lsearch -inline $::sources */$name.v]
    if {$file eq ""} {
        error "no source of module $name"
    }
    return $file
}
# pins of a cell: name -> input or output
proc pins {cell} {
    set config [list apply {{cell name} {property_or $cell CONFIG.$name 0}} $cell]
    set found {}
    switch -glob $::vlnv($cell) {
        xilinx.com:ip:zynq_ultra_ps_e {
            set found {pl_clk0 output pl_resetn0 output}
            if {[{*}$config PSU__USE__IRQ0]} {
                dict set found pl_ps_irq0 input
            }
            foreach interface [dict keys [interfaces $cell]] {
                regexp {^(.)_AXI_(HP\w?\d)_FPD$} $interface _ side port
                dict set found [string tolower ${side}axi${port}_fpd_aclk] input
            }
        }
        xilinx.com:ip:versal_cips {set found {pl0_ref_clk output pl0_resetn output m_axi_fpd_aclk input pl_ps_irq0 input}}
        xilinx.com:ip:axi_noc {
            for {set i 0} {$i < [{*}$config NUM_CLKS]} {incr i} {
                dict set found aclk$i input
            }
        }
        xilinx.com:ip:smartconnect {set found {aclk input aresetn input}}
        xilinx.com:ip:proc_sys_reset {
            set found {slowest_sync_clk input ext_reset_in input peripheral_aresetn output interconnect_aresetn output}
            # an optional pin that is high by itself
            dict set found dcm_locked optional
        }
        xilinx.com:ip:clk_wizard {
            set found {clk_in1 input clk_out1 output}
            if {[{*}$config USE_LOCKED]} {
                dict set found locked output
            }
        }
        flightllm:kernel:flightllm:1.0 {set found {ap_clk input ap_rst_n input interrupt output}}
        module:* {
            foreach {name direction} [verilog_ports [module_file $cell]] {
                if {![regexp {_axi_} $name]} {
                    dict set found $name $direction
                }
            }
        }
    }
    return $found
}
proc getor0 {dictionary key} {
    return [expr {[dict exists $dictionary $key] ? [dict get $dictionary $key] : 0}]
}

vendor get_bd_cells {} {-quiet} {1 1} {
    return [expr {[info exists ::vlnv([lindex $words 0])] ? [lindex $words 0] : ""}]
}
vendor get_bd_intf_pins {} {-quiet} {1 1} {
    lassign [split [lindex $words 0] /] cell pattern
    set found {}
    if {[info exists ::vlnv($cell)]} {
        foreach name [lsort [dict keys [interfaces $cell] $pattern]] {
            lappend found [new intf_pin $cell/$name]
        }
    }
    return $found
}
vendor get_bd_pins {} {-quiet} {1 1} {
    lassign [split [lindex $words 0] /] cell name
    if {[info exists ::vlnv($cell)] && [dict exists [pins $cell] $name]} {
        return [new pin $cell/$name]
    }
    return ""
}
proc direction {pin} {
    lassign [split $pin /] cell name
    return [dict get [pins $cell] $name]
}
vendor connect_bd_net {-net} {} {2 2} {
    lassign $words from to
    if {[direction $from] ne "output" || [direction $to] eq "output"} {
        error "connect_bd_net: from $from ([direction $from]) to $to ([direction $to])"
    }
    if {[info exists ::driver($to)]} {
        error "$to is driven twice"
    }
    set ::driver($to) $from
}
vendor connect_bd_intf_net {-intf_net} {} {2 2} {
    lassign $words from to
    foreach {pin mode} [list $from Master $to Slave] {
        lassign [split $pin /] cell name
        if {[dict get [interfaces $cell] $name] ne $mode} {
            error "$pin is no $mode"
        }
        if {[info exists ::linked($pin)]} {
            error "$pin is connected twice"
        }
    }
    set ::linked($from) $to
    set ::linked($to) $from
}
vendor get_bd_addr_spaces {-of_objects} {-quiet} {0 1} {
    if {[dict exists $opt -of_objects]} {
        set pin [dict get $opt -of_objects]
        lassign [split $pin /] cell name
        if {[dict get [interfaces $cell] $name] ne "Master"} {
            error "$pin has no address space"
        }
        return [new space space:$pin]
    }
    lassign [split [lindex $words 0] /] cell name
    switch -glob $::vlnv($cell)/$name {
        xilinx.com:ip:zynq_ultra_ps_e/Data - xilinx.com:ip:versal_cips/M_AXI_FPD {return [new space space:$cell]}
    }
    return ""
}
vendor get_bd_addr_segs {-of_objects} {-quiet} {0 1} {
    if {[dict exists $opt -of_objects]} {
        set pin [dict get $opt -of_objects]
        lassign [split $pin /] cell name
        if {[dict get [interfaces $cell] $name] ne "Slave"} {
            error "$pin has no segment"
        }
        return [new segment segment:$pin]
    }
    set name [lindex $words 0]
    if {[regexp {^ps/SAXIGP(\d)/HP(\d)_(DDR_LOW|DDR_HIGH)$} $name _ slot port]} {
        return [expr {$slot == $port + 2 && [property_or ps CONFIG.PSU__USE__S_AXI_GP$slot 0] ? [new segment $name] : ""}]
    }
    # a port of the network has the segments of the memory that it is connected to; PG313: ports 0, 1 of a controller are its pseudo-channel 0
    if {[regexp {^(axi_noc_0/HBM\d\d_AXI)/HBM(\d+)_PC(\d)$} $name _ pin controller channel]} {
        foreach {target _} [property_or $pin CONFIG.CONNECTIONS {}] {
            if {[regexp {^HBM(\d+)_PORT([0-3])$} $target _ i port] && $i == $controller && $port / 2 == $channel} {
                return [new segment $name]
            }
        }
    }
    return ""
}
vendor assign_bd_address {-offset -range -target_address_space} {-force} {0 1} {
    if {[llength $words] == 0} {
        return ""
    }
    need assign_bd_address $opt -target_address_space
    kind_of [lindex $words 0]
    set space [dict get $opt -target_address_space]
    if {[dict exists $opt -offset]} {
        set from [expr {[dict get $opt -offset]}]
        set to [expr {$from + [dict get $opt -range]}]
        set range [expr {[dict get $opt -range]}]
        if {$range & ($range - 1)} {
            error "assign_bd_address: [dict get $opt -range] is no power of two"
        }
        if {$from % $range} {
            error "assign_bd_address: [dict get $opt -offset] is no multiple of the range"
        }
        foreach {other_from other_to} [expr {[info exists ::assigned($space)] ? $::assigned($space) : ""}] {
            if {$from < $other_to && $other_from < $to} {
                error "assign_bd_address: overlap in $space"
            }
        }
        lappend ::assigned($space) $from $to
    } else {
        lappend ::assigned($space)
    }
}
vendor save_bd_design {} {} {0 0} {}
vendor validate_bd_design {} {} {0 0} {
    foreach cell [lsort [array names ::vlnv]] {
        foreach {name mode} [interfaces $cell] {
            if {![info exists ::linked($cell/$name)]} {
                error "validate: interface $cell/$name is not connected"
            }
            if {($cell eq "flightllm_1" || [string match module:* $::vlnv($cell)]) && $mode eq "Master" && ![info exists ::assigned(space:$cell/$name)]} {
                error "validate: $cell/$name reaches no memory"
            }
        }
        foreach {name direction} [pins $cell] {
            if {$direction eq "input" && ![info exists ::driver($cell/$name)]} {
                error "validate: pin $cell/$name is not connected"
            }
        }
    }
}

set script [lindex $argv 1]
set argv [lrange $argv 2 end]
set argc [llength $argv]
set status [catch {source $script} message details]
close $records
if {$status} {
    puts stderr "$message\n[dict get $details -errorinfo]"
    exit 1
}
