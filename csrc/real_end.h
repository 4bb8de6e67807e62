#undef REAL
#undef REAL_SUFFIX
#undef REAL_BYTES
#undef REAL_INT
