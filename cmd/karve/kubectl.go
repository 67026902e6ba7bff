package main

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
)

// runKubectl is kubectl with args[0] as its name. It has the flags, plugins and exit codes of the stock program.
func runKubectl(args []string) {
	os.Args = args
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}

// kubectlHelp is there for the list of commands only: main hands "karve kubectl …" over before flags are parsed.
func kubectlHelp() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl", Short: "kubectl, built in (the context that karve up writes is current)",
		DisableFlagParsing: true,
		Run:                func(_ *cobra.Command, args []string) { runKubectl(append([]string{"kubectl"}, args...)) },
	}
}
