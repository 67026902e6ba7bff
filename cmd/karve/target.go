package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity/kubeconfig"
)

// nameVariable names the cluster that commands without --name mean.
const nameVariable = "KARVE_NAME"

// target is which cluster a command means.
type target struct {
	name    string
	dataDir string
	// guess lets the command find a cluster that runs when none is named.
	guess bool
	// named tells that the name was given, as a flag or in the environment.
	named bool
}

// flags adds --name and --data-dir. When neither is given, the command finds the cluster that is meant.
func (t *target) flags(cmd *cobra.Command) {
	t.guess = true
	t.exactFlags(cmd)
}

// exactFlags are flags for commands that make a cluster or remove its data: those guess nothing.
func (t *target) exactFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.name, "name", cluster.DefaultName, "the cluster's name ($"+nameVariable+" sets it, too)")
	cmd.Flags().StringVar(&t.dataDir, "data-dir", "", "where it keeps its data (default "+cluster.DefaultRoot+"/NAME)")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return t.choose(cmd) }
	// The only error is that of a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("name", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return slices.Sorted(maps.Keys(cluster.Known())), cobra.ShellCompDirectiveNoFileComp
	})
}

// choose finds the cluster that is meant when it is not named.
func (t *target) choose(cmd *cobra.Command) (err error) {
	if t.named = cmd.Flags().Changed("name"); t.named || t.dataDir != "" {
		return nil
	}
	if name := os.Getenv(nameVariable); name != "" {
		t.name, t.named = name, true
	} else if t.guess {
		t.name, err = guessed(cluster.Known(), currentContext())
	}
	return err
}

// guessed is the cluster that kubectl talks to, if it is one of this machine's, else the only one that runs.
func guessed(known map[string]cluster.Dir, current string) (string, error) {
	if _, ok := known[current]; ok {
		return current, nil
	}
	run := runningOf(known)
	_, exists := known[cluster.DefaultName]
	switch {
	case len(run) == 1:
		return run[0], nil
	case len(run) > 1 && !exists:
		return "", fmt.Errorf("several clusters run (%s): say which with --name or $%s", strings.Join(run, ", "), nameVariable)
	}
	return cluster.DefaultName, nil
}

// runningOf names the clusters whose daemon runs, in order.
func runningOf(known map[string]cluster.Dir) (run []string) {
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if _, ok := running(known[name]); ok {
			run = append(run, name)
		}
	}
	return run
}

// currentContext names the context that kubectl uses; empty when there is none.
func currentContext() string {
	config, err := userConfig()
	if err != nil {
		return ""
	}
	return config.CurrentContext
}

// userConfig reads the kubeconfig of whoever runs the command.
func userConfig() (*clientcmdapi.Config, error) {
	file, err := kubeconfig.Default()
	if err != nil {
		return nil, err
	}
	return clientcmd.LoadFromFile(file.Path)
}

func (t *target) dir() cluster.Dir {
	if t.dataDir != "" {
		if abs, err := filepath.Abs(t.dataDir); err == nil {
			return cluster.Dir(abs)
		}
		return cluster.Dir(t.dataDir)
	}
	if dir, ok := cluster.Known()[t.name]; ok && t.guess {
		return dir
	}
	return cluster.DirOf(t.name)
}

// again returns the flags that name the same cluster, for hints to the user.
func (t *target) again() string {
	out := ""
	if t.name != cluster.DefaultName {
		out += " --name " + t.name
	}
	if t.dataDir != "" {
		out += " --data-dir " + t.dataDir
	}
	return out
}
