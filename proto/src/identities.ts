/** Common name of the client certificate that KEDA shows: it may call ExternalScaler, and nothing else. */
export const SCALER_COMMON_NAME = 'flowmesh-scaler';
