package api

import "karve.dev/karve/services/api/tunnel"

// tunnel makes what carries connections to what runs in the cluster.
func (s *Server) tunnel() *tunnel.Service {
	agents, _ := s.config.Nodes.(tunnel.Agents)
	return tunnel.New(tunnel.Config{
		Authorize: s.resources.Authorize, Sync: s.resources.Sync, Objects: s.resources, Reach: s.reach, Agents: agents, APIServices: s.others,
	})
}
