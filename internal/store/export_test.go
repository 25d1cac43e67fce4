package store

import "time"

// SetWatchSilence changes how long a subscription of a store in Redis may be silent. A wait that has begun is not changed.
func SetWatchSilence(s *Store, d time.Duration) { s.backend.(*redisStore).silence = d }
