package demo

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// state is what a demo must remember to print working lines again. It is kept beside the data, readable by the owner
// only: a database knows keys by their hash alone.
type state struct {
	JWTSecret  string `json:"jwt_secret"`
	AdminKey   string `json:"admin_key"`
	MetricsKey string `json:"metrics_key"`
	APIKey     string `json:"api_key"`
	APIKeyID   id.ID  `json:"api_key_id"`
}

const stateFile = "demo.json"

// loadState reads the folder's state, or makes one.
func loadState(dir string, newID ports.NewID) (state, error) {
	var s state
	path := filepath.Join(dir, stateFile)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &s); err != nil {
			return s, fmt.Errorf("%s is damaged (%w); remove it to get new keys", path, err)
		}
		if _, ok := apikey.PrefixOf(s.APIKey); ok && s.JWTSecret != "" && s.AdminKey != "" && s.MetricsKey != "" && !s.APIKeyID.IsZero() {
			return s, nil
		}
		return s, fmt.Errorf("%s is incomplete; remove it to get new keys", path)
	case !errors.Is(err, os.ErrNotExist):
		return s, err
	}
	if s.APIKey, _, _, err = apikey.Generate(rand.Reader); err != nil {
		return s, err
	}
	s.JWTSecret, s.AdminKey, s.MetricsKey, s.APIKeyID = randomHex(), randomHex(), randomHex(), newID()
	if text, err = json.MarshalIndent(s, "", "  "); err != nil {
		return s, err
	}
	// renamed into place: a demo that is killed meanwhile must not leave half a file
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return s, err
	}
	return s, os.Rename(path+".new", path)
}

func randomHex() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}
