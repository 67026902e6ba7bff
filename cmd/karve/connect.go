package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity/kubeconfig"
)

// connect merges the cluster's administrator into the kubeconfig of whoever runs the command. A file that cannot be
// merged is left alone; the cluster works all the same, so that is told and is no failure.
func connect(dir cluster.Dir) error {
	entry, err := adminEntry(dir)
	if err != nil {
		return err
	}
	file, err := kubeconfig.Default()
	if err != nil {
		return err
	}
	err = file.Merge(entry)
	if errors.Is(err, kubeconfig.ErrLeftAlone) {
		fmt.Fprintf(os.Stderr, "karve: %v\n", err)
		fmt.Fprintf(os.Stderr, "karve: use kubectl --kubeconfig %s instead\n", dir.Kubeconfig())
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Printf("kubectl context %q is in %s and current\n", entry.Name, file.Path)
	return nil
}

// adminEntry reads the kubeconfig that the daemon keeps in its data directory.
func adminEntry(dir cluster.Dir) (kubeconfig.Entry, error) {
	config, err := clientcmd.LoadFromFile(dir.Kubeconfig())
	if err != nil {
		return kubeconfig.Entry{}, fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	name := config.CurrentContext
	c, u := config.Clusters[name], config.AuthInfos[name]
	if c == nil || u == nil {
		return kubeconfig.Entry{}, fmt.Errorf("read the cluster's kubeconfig: %s has no cluster and user called %q", dir.Kubeconfig(), name)
	}
	return kubeconfig.Entry{Name: name, Server: c.Server, CA: c.CertificateAuthorityData, Cert: u.ClientCertificateData, Key: u.ClientKeyData}, nil
}

// disconnect takes the cluster out of that kubeconfig again.
func disconnect(name string) {
	file, err := kubeconfig.Default()
	if err == nil {
		err = file.Remove(name)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "karve: %v\n", err)
	}
}

func whatNext(t target) string {
	return fmt.Sprintf(`
Try:
  kubectl get nodes                        (or: karve kubectl get nodes)
  docker build -t app . && kubectl create deployment app --image=app
  karve status%s
  karve down%s
`, t.again(), t.again())
}

// adminTLS takes the administrator's certificate out of the cluster's kubeconfig.
func adminTLS(dir cluster.Dir) (*tls.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", dir.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	cert, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		return nil, fmt.Errorf("read the administrator's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(config.CAData) {
		return nil, errors.New("read the cluster's CA: the kubeconfig holds none")
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, RootCAs: pool}, nil
}
