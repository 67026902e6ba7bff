package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"karve.dev/karve/internal/cluster"
)

// shutdownSlack is what a shutdown may take beyond the time that pods have.
const shutdownSlack = 30 * time.Second

func shutdownCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:   "shutdown",
		Short: "End all pods in order, because the machine goes down, and stop the cluster's daemon",
		Long: `End all pods in order, because the machine goes down, and stop the cluster's daemon.

Pods get their grace period, within --shutdown-grace-period of karve up; those of the lowest priority end first, critical
ones last. They are marked as terminated, so that their controllers replace them, and nothing is left to be killed.

Where systemd-logind runs, the daemon holds a shutdown of the machine up by itself, for as long as InhibitDelayMaxSec in
logind.conf allows. This command is for machines without it, as an ExecStop= of the unit or in a script.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return shutdown(*t) },
	}
	t.flags(cmd)
	return cmd
}

func shutdown(t target) error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: run sudo karve shutdown" + t.again())
	}
	dir := t.dir()
	settings, _, err := dir.Load()
	if err != nil {
		return err
	}
	pid, ok := running(dir)
	if !ok {
		fmt.Printf("karve: the cluster in %s does not run\n", dir)
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGPWR); err != nil {
		return fmt.Errorf("tell the daemon (process %d): %w", pid, err)
	}
	limit := settings.Upkeep.ShutdownGrace.Duration
	if limit == 0 {
		limit = cluster.DefaultShutdownGrace
	}
	if !waitGone(dir, limit+shutdownSlack) {
		return fmt.Errorf("the daemon (process %d) has not ended: look at %s", pid, dir.Log())
	}
	fmt.Println("ended the pods and stopped the cluster")
	return nil
}
