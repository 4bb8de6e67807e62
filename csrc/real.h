/* One source, two element types.
 *
 * Driver and kernel bodies are written once for REAL and included twice, between real_f32.h or real_f64.h
 * and real_end.h. FN(name) is the name of the instance: name_f32 or name_f64. */
#ifndef CNN_REAL_H
#define CNN_REAL_H

#define CNN_CAT_(a, b) a##b
#define CNN_CAT(a, b) CNN_CAT_(a, b)
#define FN(name) CNN_CAT(name##_, REAL_SUFFIX)

#endif
