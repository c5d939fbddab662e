# Draws RUN/curves.csv as RUN/curves-R.png, a thin line a replica and their median thick:
# Rscript scripts/plot.R runs/echo

run <- commandArgs(trailingOnly = TRUE)
if (length(run) != 1) stop("usage: Rscript scripts/plot.R RUN", call. = FALSE)
curves <- read.csv(file.path(run, "curves.csv"))

panel <- function(column, log = "", ...) {
    values <- curves[[column]]
    plot(curves$step, values, type = "n", log = log, las = 1, bty = "l", xaxt = "n",
        xlab = "optimiser steps", ylab = column, ...)
    ticks <- axTicks(1)
    axis(1, ticks, format(ticks, big.mark = ",", scientific = FALSE, trim = TRUE))
    for (own in split(curves, curves$replica)) {
        lines(own$step, own[[column]], col = "#56B4E9", lwd = 0.5)
    }
    medians <- tapply(values, curves$step, median, na.rm = TRUE)
    lines(as.numeric(names(medians)), medians, col = "#0072B2", lwd = 2)
}

png(file.path(run, "curves-R.png"), width = 9, height = 3.6, units = "in",
    res = 200, pointsize = 9)
par(mfrow = c(1, 2), mar = c(4, 4.5, 1, 1))
span <- range(curves$loss[curves$loss > 0], na.rm = TRUE)
panel("loss", log = if (span[2] > 10 * span[1]) "y" else "")
panel("accuracy", ylim = c(0, 1))
legend("bottomright", c("replicas", "median"), col = c("#56B4E9", "#0072B2"), lwd = c(0.5, 2),
    bty = "n")
invisible(dev.off())
