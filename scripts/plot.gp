# Draws RUN/curves.csv as RUN/curves-gnuplot.png, a thin line a replica and their mean thick:
# gnuplot -e "run='runs/echo'" scripts/plot.gp

if (!exists("run")) {
    printerr "error: no run\nhint: gnuplot -e \"run='runs/echo'\" scripts/plot.gp"
    exit status 2
}
curves = run."/curves.csv"
set datafile separator ","
# A line joins the rows of one replica, with those of the others between them.
set datafile missing NaN
set datafile columnheaders
stats curves using "replica" name "replica" nooutput
stats curves using "loss" name "loss" nooutput

set terminal pngcairo size 1800,720 fontscale 1.6 linewidth 2
set output run."/curves-gnuplot.png"
set multiplot layout 1,2
set xlabel "optimiser steps"
set format x "%.0f"
set xtics nomirror
set ytics nomirror
set border 3
do for [name in "loss accuracy"] {
    set ylabel name
    if (name eq "loss") {
        unset key
        if (loss_max > 10 * loss_min) { set logscale y }
    } else {
        set key bottom right
        unset logscale y
        set yrange [0:1]
    }
    plot for [k=0:replica_max] curves \
            using (column("replica") == k ? column("step") : NaN):(column(name)) \
            with lines linewidth 0.5 linecolor rgb "#56B4E9" title (k == 0 ? "replicas" : ""), \
        curves using "step":name smooth unique \
            with lines linewidth 1.6 linecolor rgb "#0072B2" title "mean"
}
unset multiplot
