package gpuv1

// Ready is the line that a worker writes to standard output once its socket can be dialled.
const Ready = "ready"
