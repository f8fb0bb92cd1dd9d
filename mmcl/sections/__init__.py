"""Config sections: typed settings of data, models and training, with methods that build them."""
