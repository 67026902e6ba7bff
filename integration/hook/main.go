// Command hook is an admission webhook for tests: it refuses objects that are labelled "refuse", and says why. It finds its
// certificate in /certs.
package main

import (
	"encoding/json"
	"log"
	"net/http"
)

type review struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Request    *struct {
		UID    string `json:"uid"`
		Object struct {
			Metadata struct {
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
		} `json:"object"`
	} `json:"request,omitempty"`
	Response *response `json:"response,omitempty"`
}

type response struct {
	UID      string   `json:"uid"`
	Allowed  bool     `json:"allowed"`
	Warnings []string `json:"warnings,omitempty"`
	Status   *status  `json:"status,omitempty"`
}

type status struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func main() {
	http.HandleFunc("/validate", func(w http.ResponseWriter, req *http.Request) {
		r := &review{}
		if err := json.NewDecoder(req.Body).Decode(r); err != nil || r.Request == nil {
			http.Error(w, "not a review", http.StatusBadRequest)
			return
		}
		r.Response = &response{UID: r.Request.UID, Allowed: true, Warnings: []string{"seen by the pod"}}
		if why, ok := r.Request.Object.Metadata.Labels["refuse"]; ok {
			r.Response.Allowed, r.Response.Status = false, &status{http.StatusForbidden, "Forbidden", "it is labelled " + why}
		}
		r.Request = nil
		_ = json.NewEncoder(w).Encode(r)
	})
	log.Fatal(http.ListenAndServeTLS(":8443", "/certs/tls.crt", "/certs/tls.key", nil))
}
